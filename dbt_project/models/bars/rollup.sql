{{ config(materialized='view') }}
-- Where there are continuous aggregates:
-- depends_on: {{ ref('dim_timeframe') }}, {{ ref('dim_instrument') }}, {{ ref('observed') }}

{%- set columns = [
    'instrument_id', 'timeframe', 'opened_at', 'closed_at', 'open', 'high', 'low', 'close', 'volume', 'quote_volume',
    'trade_count', 'price_factor', 'bar_count', 'missing_count', 'is_partial'
] %}

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

-- What is frozen stands in the table, out of a refresh's reach (titan/ops/storage.py).
select * from (
    {{ finished_bars('aggregate') | indent(4) }}
) as bar
where closed_at > coalesce((select ops.aggregate_horizon()), '-infinity')
union all
select
    {{ columns | join(',\n    ') }}
from {{ ref('rollup_stored') }}
{%- else %}

    select
        {{ columns | join(',\n        ') }}
    from {{ ref('rollup_stored') }}
{%- endif %}
