{{ config(
    materialized='rollup',
    memory='bucket',
    bucket='intraday',
    key=['instrument_id', 'timeframe', 'closed_at'],
    hypertable='90 days',
    frozen='all',
) }}
-- The continuous aggregates read it:
-- depends_on: {{ ref('candle') }}

with timeframe as (
    select * from {{ ref('dim_timeframe') }}
    where is_intraday or timeframe = '1D'
),

-- One timeframe at a time: within it the candles come in the order of the key, and nothing has to be sorted on disk.
summed as (
    select
        timeframe.timeframe,
        bar.*
    from timeframe
    cross join lateral (
        select
            fed.instrument_id,
            fed.bar_opened_at as opened_at,
            fed.bar_closed_at as closed_at,
            {{ bar_columns() | indent(12) }}
        from {{ feed(ref('candle_of_bar'), timeframe='timeframe.timeframe') }}
        where fed.timeframe = timeframe.timeframe
        group by fed.instrument_id, fed.bar_opened_at, fed.bar_closed_at
    ) as bar
),

final as (
    {{ finished_bars('summed') | indent(4) }}
)

select * from final
