{#-
  Periods of a day or longer, numbered from 1970 on, so that no boundary depends on what was loaded. Spans of trading days
  count the days of the session, the others dates of the calendar.

  `timeframe` is the alias of a row of dim_timeframe, the other arguments are SQL.
-#}

{#- The number of the period that holds a date. trading_day_number is that of the date, or of the next trading day. -#}
{% macro period_number(timeframe, date, trading_day_number) -%}
case {{ timeframe }}.base_unit
    when 'D' then {{ trading_day_number }} / {{ timeframe }}.quantity
    when 'CD' then ({{ date }} - date '1970-01-01') / {{ timeframe }}.quantity
    when 'W' then ({{ date }} - {{ first_week(timeframe) }} + 7 * {{ timeframe }}.quantity) / (7 * {{ timeframe }}.quantity) - 1
    when 'MO'
        then ((extract(year from {{ date }}) - 1970) * 12 + extract(month from {{ date }}) - 1)::integer
            / {{ timeframe }}.quantity
    when 'Y' then (extract(year from {{ date }}) - 1970)::integer / {{ timeframe }}.quantity
end
{%- endmacro %}


{#- The first date of a period by its number; null for spans of trading days. -#}
{% macro period_first_date(timeframe, number) -%}
case {{ timeframe }}.base_unit
    when 'CD' then date '1970-01-01' + {{ number }} * {{ timeframe }}.quantity
    when 'W' then {{ first_week(timeframe) }} + {{ number }} * 7 * {{ timeframe }}.quantity
    when 'MO' then (date '1970-01-01' + make_interval(months => {{ number }} * {{ timeframe }}.quantity))::date
    when 'Y' then (date '1970-01-01' + make_interval(years => {{ number }} * {{ timeframe }}.quantity))::date
end
{%- endmacro %}


{#- The Sunday and the Monday from which weeks count. -#}
{% macro first_week(timeframe) -%}
case {{ timeframe }}.calendar_scheme when 'US' then date '1970-01-04' else date '1970-01-05' end
{%- endmacro %}


{#-
  Joins the bounds of a period as `period`: first_date and end_date (not included; null for spans of trading days), the numbers
  of its first and last trading day, and the instants between which its bars lie. A period without a trading day joins nothing.
-#}
{% macro join_period(timeframe, session_id, number) %}
cross join lateral (
    select
        {{ period_first_date(timeframe, number) }} as first_date,
        {{ period_first_date(timeframe, '(' ~ number ~ ' + 1)') }} as end_date
    from (select 1) as one
    limit 1  -- or each look-up is made once for every place that uses it
) as period_date
cross join lateral (
    select
        case
            when {{ timeframe }}.base_unit = 'D' then {{ number }} * {{ timeframe }}.quantity
            else (
                select trading_day_number from {{ ref('dim_calendar') }}
                where session_id = {{ session_id }} and date = period_date.first_date
            )
        end as first_number,
        case
            when {{ timeframe }}.base_unit = 'D' then ({{ number }} + 1) * {{ timeframe }}.quantity
            else (
                select trading_day_number from {{ ref('dim_calendar') }}
                where session_id = {{ session_id }} and date = period_date.end_date
            )
        end - 1 as last_number
    from (select 1) as one
    limit 1
) as period_day
cross join lateral (
    select
        period_date.first_date,
        period_date.end_date,
        period_day.first_number,
        period_day.last_number,
        opening.opened_at,
        closing.closed_at
    from {{ ref('dim_calendar') }} as opening
    inner join {{ ref('dim_calendar') }} as closing
        on
            opening.session_id = closing.session_id
            and closing.trading_day_number = period_day.last_number
            and closing.is_trading_day
    where
        opening.session_id = {{ session_id }}
        and opening.trading_day_number = period_day.first_number
        and opening.is_trading_day
        and period_day.first_number <= period_day.last_number
    offset 0  -- or few bars, as it seems, are each looked for in the whole calendar
) as period
{% endmacro %}
