{{ config(materialized='view') }}

with instrument as (
    select
        instrument.*,
        timeframe.duration_seconds
    from {{ ref('dim_instrument') }} as instrument
    inner join {{ ref('dim_timeframe') }} as timeframe on instrument.base_timeframe = timeframe.timeframe
),

missing as (
    select
        gap.instrument_id,
        sum(gap.missing_count) filter (where gap.gap_kind = 'no_trade') as no_trade_count,
        sum(gap.missing_count) filter (where gap.gap_kind = 'outage') as outage_count,
        sum(gap.missing_count) filter (where gap.gap_kind = 'not_fetched') as not_fetched_count
    from {{ ref('gap') }} as gap
    inner join instrument
        on
            gap.instrument_id = instrument.instrument_id
            and gap.timeframe = instrument.base_timeframe
    group by gap.instrument_id
),

-- Around the clock the gaps tell how many candles there are; only those of sessions have to be counted.
counted as (
    select
        instrument.instrument_id,
        instrument.base_timeframe as timeframe,
        first_candle.opened_at as first_at,
        last_candle.closed_at as last_at,
        observed.observed_until,
        coalesce(missing.no_trade_count, 0)::bigint as no_trade_count,
        coalesce(missing.outage_count, 0)::bigint as outage_count,
        coalesce(missing.not_fetched_count, 0)::bigint as not_fetched_count,
        case
            when instrument.is_24_7 and instrument.duration_seconds <= 604800
                then round(
                    extract(epoch from last_candle.closed_at - first_candle.opened_at) / instrument.duration_seconds
                )::bigint
                - (
                    coalesce(missing.no_trade_count, 0)
                    + coalesce(missing.outage_count, 0)
                    + coalesce(missing.not_fetched_count, 0)
                )::bigint
            else (
                select count(*) from {{ ref('candle') }} as candle
                where
                    candle.instrument_id = instrument.instrument_id
                    and candle.timeframe = instrument.base_timeframe
                    and candle.is_in_session
            )
        end as candle_count
    from instrument
    inner join {{ ref('observed') }} as observed
        on
            instrument.instrument_id = observed.instrument_id
            and instrument.base_timeframe = observed.timeframe
    cross join
        lateral (
            select candle.opened_at from {{ ref('candle') }} as candle
            where candle.instrument_id = instrument.instrument_id and candle.timeframe = instrument.base_timeframe
            order by candle.closed_at
            limit 1
        ) as first_candle
    cross join
        lateral (
            select candle.closed_at from {{ ref('candle') }} as candle
            where candle.instrument_id = instrument.instrument_id and candle.timeframe = instrument.base_timeframe
            order by candle.closed_at desc
            limit 1
        ) as last_candle
    left join missing on instrument.instrument_id = missing.instrument_id
)

select
    instrument_id,
    timeframe,
    first_at,
    last_at,
    observed_until,
    candle_count,
    no_trade_count,
    outage_count,
    not_fetched_count,
    candle_count::double precision / nullif(candle_count + no_trade_count + outage_count, 0) as completeness
from counted
