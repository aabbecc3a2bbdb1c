{{ config(
    memory='whole',
    key=['session_id', 'date'],
    indexes=[['session_id', 'trading_day_number']],
) }}
-- config.special_days reads them:
-- depends_on: {{ source('config', 'holiday') }}, {{ source('config', 'holiday_rule') }}

with trading_session as (
    select * from {{ source('config', 'session') }}
),

special_day as (
    select
        trading_session.session_id,
        special_day.*
    from trading_session
    cross join
        lateral config.special_days(
            trading_session.session_id, {{ calendar_first_year() }}, {{ calendar_last_year() }}
        ) as special_day
    where not trading_session.is_24_7
),

day as (
    select
        trading_session.*,
        moment::date as date -- noqa: RF04
    from trading_session
    cross join generate_series(
        timestamp '{{ calendar_first_year() }}-01-01', timestamp '{{ calendar_last_year() }}-12-31', interval '1 day'
    ) as moment
),

judged as (
    select
        day.session_id,
        day.date,
        day.is_24_7,
        day.timezone,
        special_day.name as special_day,
        coalesce(special_day.open_local, day.open_local) as open_local,
        coalesce(special_day.close_local, day.close_local) as close_local,
        day.is_24_7
        or (
            extract(isodow from day.date) <= day.trading_days_per_week
            and (special_day.date is null or num_nonnulls(special_day.open_local, special_day.close_local) > 0)
        ) as is_trading_day
    from day
    left join special_day on day.session_id = special_day.session_id and day.date = special_day.date
),

final as (
    select
        session_id,
        date,
        is_trading_day,
        special_day,
        case when is_trading_day then (date + open_local) at time zone timezone end as opened_at,
        case
            when is_24_7 then (date + 1)::timestamp at time zone timezone
            when is_trading_day then (date + close_local) at time zone timezone
        end as closed_at,
        (
            count(*) filter (where is_trading_day)
                over (partition by session_id order by date rows between unbounded preceding and current row)
            - is_trading_day::integer
        )::integer as trading_day_number
    from judged
)

select * from final
