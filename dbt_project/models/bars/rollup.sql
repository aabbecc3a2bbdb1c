{{ config(materialized='view') }}
-- Where there are continuous aggregates:
-- depends_on: {{ ref('dim_timeframe') }}, {{ ref('dim_instrument') }}, {{ ref('observed') }}

{%- if engine() == 'community' %}

with aggregate as (
    {% for timeframe in aggregate_timeframes() -%}
    select
        instrument_id,
        '{{ timeframe }}' as timeframe,
        bucket - interval '1 microsecond' as opened_at,
        closed_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        price_factor,
        bar_count
    from {{ ref('rollup_stored').schema }}.{{ aggregate_name(timeframe) }}
    {%- if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}
)

select * from {{ ref('rollup_stored') }}
union all
{{ finished_bars('aggregate') }}
{%- else %}

select * from {{ ref('rollup_stored') }}
{%- endif %}
