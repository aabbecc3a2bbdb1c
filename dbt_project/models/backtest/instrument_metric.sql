{{ config(memory='bucket', key=['instrument_id', 'timeframe', 'signal', 'account']) }}

with series as not materialized (
    select
        bars_per_year.instrument_id,
        bars_per_year.timeframe,
        bars_per_year.bars_per_year
    from {{ ref('bars_per_year') }} as bars_per_year
),

equity as not materialized (
    select
        equity.*,
        series.bars_per_year
    from {{ feed_series('series') }}
    inner join {{ ref('fct_strategy_equity') }} as equity
        on series.instrument_id = equity.instrument_id and series.timeframe = equity.timeframe
),

{{ metric_sums('equity', ['instrument_id', 'timeframe', 'signal']) }},

{{ metrics_of_sums(['instrument_id', 'timeframe', 'signal']) }}

select * from metric
