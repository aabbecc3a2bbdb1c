{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at'], hypertable='90 days', frozen='base',
    analyze=['instrument_id', 'timeframe', 'closed_at'], work_mem='16MB',
    pre_hook='{{ create_feature_loop() }}'
) }}
{%- set program = feature_program(enabled_indicators()) %}
{%- set walk = feature_loop_name(program) %}

with series as not materialized (
    select
        instrument.instrument_id,
        timeframe.timeframe,
        mod(instrument.instrument_id + timeframe.sort_order, {{ loop_shards() }}) as shard
    from {{ ref('dim_instrument') }} as instrument
    cross join {{ ref('dim_timeframe') }} as timeframe
    where timeframe.compute_features
),

-- Each part of them is one that another process may take.
walked as not materialized (
    {%- for shard in range(loop_shards()) %}
        select
            series.instrument_id,
            series.timeframe,
            walked.*
        from {{ feed_series('series') }}
        cross join lateral {{ walk }}(series.instrument_id, series.timeframe, series.first_at) as walked
        where series.shard = {{ shard }}
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}
),

final as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        close,
        gap_before,
        n as series_position,
        bars_since_outage,
        {%- for feature in program.features if feature.is_stored %}
            {{ feature.sql }} as {{ feature.name }},
        {%- endfor %}
        checkpoint
    from walked
)

select * from final
