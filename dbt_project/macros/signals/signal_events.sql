{#-
  The events of signals over bars with features: one row per signal, bar, direction and action.

  bars   a relation of the features of bars, each preceded by the one before it
  readable  {name: sql} of what signals may read of it (readable_features)
-#}
{% macro signal_events(signals, bars, readable) %}
{%- set columns = ['close'] %}
{%- set timeframes = [] %}
{%- for signal in signals %}
    {%- do columns.extend(signal.reads) %}
    {%- do timeframes.append(signal.row.timeframe) %}
{%- endfor %}
with bar as materialized (
    select
        features.instrument_id,
        features.timeframe,
        features.closed_at,
        bars_per_year.bars_per_year
        {%- for name in columns | unique | sort %},
        features.{{ name }},
        lag(features.{{ name }}) over series as {{ name }}_before
        {%- endfor %}
    from (
        select
            fed.instrument_id,
            fed.timeframe,
            fed.closed_at
            {%- for name in columns | unique | sort %},
            {{ readable[name] }} as {{ name }}
            {%- endfor %}
        from {{ bars }}
        where fed.timeframe = any (array['{{ timeframes | unique | sort | join("', '") }}'])
    ) as features
    inner join {{ ref('bars_per_year') }} as bars_per_year
        on features.instrument_id = bars_per_year.instrument_id and features.timeframe = bars_per_year.timeframe
    window series as (partition by features.instrument_id, features.timeframe order by features.closed_at)
),

event as (
    {%- for signal in signals if signal.events %}
        select
            bar.instrument_id,
            bar.timeframe,
            bar.closed_at,
            '{{ signal.row.signal }}' as signal,
            event.direction,
            event.action,
            bar.close,
            {{ signal.fraction }} as fraction,
            jsonb_build_object(
                'close', bar.close{% for name in signal.reads | sort %}, '{{ name }}', bar.{{ name }}{% endfor %}
            ) as features,
            encode(sha256(convert_to(concat_ws(
                ' ', 'close=' || bar.close{% for name in signal.reads | sort %}, '{{ name }}=' || bar.{{ name }}{% endfor %}
            ), 'UTF8')), 'hex') as feature_hash
        from bar
        cross join
            lateral (
                values
                {%- for event in signal.events %}
                    ('{{ event.direction }}', '{{ event.action }}', {{ event.condition }}){{ ',' if not loop.last }}
                {%- endfor %}
            ) as event (direction, action, is_met)
        where
            bar.timeframe = '{{ signal.row.timeframe }}'
            and (
                {%- for event in signal.events %}
                    {{ 'or ' if not loop.first }}{{ event.condition }}
                {%- endfor %}
            )
            and event.is_met
        union all
    {%- endfor %}
    select
        null::integer as instrument_id,
        null::text as timeframe,
        null::timestamptz as closed_at,
        null::text as signal,
        null::text as direction,
        null::text as action,
        null::float8 as close,
        null::float8 as fraction,
        null::jsonb as features,
        null::text as feature_hash
    where false
)
{%- endmacro %}
