-- What a year of bars has to be read for is read where it is selected alone: the planner leaves out a left join of one row.
with instrument as (
    select * from {{ ref('dim_instrument') }}
),

features as not materialized (
    select * from {{ ref('features') }}
),

bars as not materialized (
    select * from {{ ref('fct_bars') }}
),

latest as (
    {{ newest_bars() | indent(4) }}
),

described as (
    select
        last_row.*,
        width.band_width_p05,
        width.band_width_bars,
        greatest(by_day.high, since_then.high) as high_1y
    from latest
    cross join
        lateral (
            select features.* from features
            where
                features.instrument_id = latest.instrument_id
                and features.timeframe = latest.timeframe
                and features.closed_at = latest.closed_at
            order by features.closed_at
            limit 1
        ) as last_row
    left join
        lateral (
            select
                count(features.bollinger_bandwidth_20_2) as band_width_bars,
                case
                    when count(features.bollinger_bandwidth_20_2) >= 20
                        then percentile_cont(0.05) within group (order by features.bollinger_bandwidth_20_2)
                end as band_width_p05
            from features
            where
                features.instrument_id = latest.instrument_id
                and features.timeframe = latest.timeframe
                and features.closed_at > latest.closed_at - interval '365 days'
                and features.closed_at <= latest.closed_at
        ) as width
        on true
    -- Of whole days where there are any, and of the series' own bars after the last of them.
    left join
        lateral (
            select
                max(bars.high) as high,
                max(bars.closed_at) as closed_at
            from bars
            where
                bars.instrument_id = latest.instrument_id
                and bars.timeframe = '1D'
                and bars.closed_at > latest.closed_at - interval '365 days'
                and bars.closed_at <= latest.closed_at
        ) as by_day
        on true
    left join
        lateral (
            select max(bars.high) as high from bars
            where
                bars.instrument_id = latest.instrument_id
                and bars.timeframe = latest.timeframe
                and bars.closed_at > coalesce(by_day.closed_at, latest.closed_at - interval '365 days')
                and bars.closed_at <= latest.closed_at
        ) as since_then
        on true
)

select
    instrument_id,
    exchange,
    market_type,
    symbol,
    timeframe,
    closed_at as last_closed_at,
    close as last_price,
    simple_return as change_1,
    simple_return_7 as change_7,
    simple_return_30 as change_30,
    return_zscore_252_365 as return_zscore,
    rsi_14,
    macd_12_26_9 as macd,
    macd_signal_12_26_9 as macd_signal,
    macd_histogram_12_26_9 as macd_histogram,
    ema_50,
    ema_200,
    realised_30_annualised as volatility,
    atr_14 as atr,
    atr_14 / nullif(close, 0) as atr_ratio,
    bollinger_percent_b_20_2 as percent_b,
    bollinger_bandwidth_20_2 as band_width,
    band_width_p05,
    band_width_bars,
    bollinger_bandwidth_20_2 < band_width_p05 as is_squeeze,
    high_1y,
    close / nullif(high_1y, 0) - 1 as distance_from_high_1y,
    bars_since_outage
from described
