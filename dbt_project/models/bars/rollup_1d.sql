{{ config(memory='bucket', bucket='day', timeframe='1D', key=['instrument_id', 'timeframe', 'closed_at']) }}

with candle as (
    select * from {{ feed(ref('candle')) }}
),

instrument as (
    select
        instrument.*,
        timeframe.duration_seconds
    from {{ ref('dim_instrument') }} as instrument
    inner join {{ ref('dim_timeframe') }} as timeframe on instrument.base_timeframe = timeframe.timeframe
    where timeframe.is_intraday
),

observed as (
    select * from {{ ref('observed') }}
),

-- The day of a candle is the local one of its session. Candles that open outside it, or reach into another date, belong to
-- no day: a day is made of what lies between two local midnights (see memory bucket).
dated as (
    select
        candle.*,
        (candle.opened_at at time zone instrument.timezone)::date as trading_date
    from candle
    inner join instrument on candle.instrument_id = instrument.instrument_id
    where
        instrument.is_24_7
        or (
            (candle.opened_at at time zone instrument.timezone)::time >= instrument.open_local
            and (candle.opened_at at time zone instrument.timezone)::time < instrument.close_local
            and (candle.opened_at at time zone instrument.timezone)::date
            = ((candle.closed_at - interval '1 microsecond') at time zone instrument.timezone)::date
        )
),

-- A float sum depends on its order, and the order of a heap is that of loading: every stored sum has its own order.
summed as (
    select
        instrument_id,
        trading_date,
        (array_agg(open order by closed_at))[1] as open,
        max(high) as high,
        min(low) as low,
        (array_agg(close order by closed_at))[count(*)] as close,
        sum(volume order by closed_at) as volume,
        case when count(quote_volume) = count(*) then sum(quote_volume order by closed_at) end as quote_volume,
        case when count(trade_count) = count(*) then sum(trade_count)::bigint end as trade_count,
        count(*)::integer as bar_count
    from dated
    group by instrument_id, trading_date
),

bounded as (
    select
        summed.*,
        (summed.trading_date + instrument.open_local) at time zone instrument.timezone as opened_at,
        case
            when instrument.is_24_7 then (summed.trading_date + 1)::timestamp at time zone instrument.timezone
            else (summed.trading_date + instrument.close_local) at time zone instrument.timezone
        end as closed_at,
        instrument.base_timeframe,
        instrument.duration_seconds
    from summed
    inner join instrument on summed.instrument_id = instrument.instrument_id
),

-- A day is finished once its source was asked about the time past its end, whatever the clock says.
final as (
    select
        bounded.instrument_id,
        '1D' as timeframe,
        bounded.opened_at,
        bounded.closed_at,
        bounded.open,
        bounded.high,
        bounded.low,
        bounded.close,
        bounded.volume,
        bounded.quote_volume,
        bounded.trade_count,
        bounded.bar_count,
        greatest(
            ceil(extract(epoch from bounded.closed_at - bounded.opened_at) / bounded.duration_seconds)::integer
            - bounded.bar_count,
            0
        ) as missing_count,
        not observed.observed @> tstzrange(bounded.opened_at, bounded.closed_at) as is_partial
    from bounded
    inner join observed
        on
            bounded.instrument_id = observed.instrument_id
            and bounded.base_timeframe = observed.timeframe
    where bounded.closed_at <= observed.observed_until
)

select * from final
