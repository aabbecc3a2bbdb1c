{{ config(memory='bucket', key=['instrument_id', 'timeframe', 'closed_at']) }}

with ohlcv as (
    select * from {{ feed(source('raw', 'ohlcv')) }}
),

instrument as (
    select
        *,
        not is_24_7 and base_timeframe = '1D' as has_session_days
    from {{ ref('dim_instrument') }}
),

-- A source stamps an equity's day with its date; the bar opens and closes with the session.
final as (
    select
        ohlcv.instrument_id,
        ohlcv.timeframe,
        case
            when instrument.has_session_days
                then (
                    (ohlcv.opened_at at time zone instrument.timezone)::date + instrument.open_local
                ) at time zone instrument.timezone
            else ohlcv.opened_at
        end as opened_at,
        case
            when instrument.has_session_days
                then (
                    (ohlcv.opened_at at time zone instrument.timezone)::date + instrument.close_local
                ) at time zone instrument.timezone
            else ohlcv.closed_at
        end as closed_at,
        ohlcv.open,
        ohlcv.high,
        ohlcv.low,
        ohlcv.close,
        ohlcv.volume,
        ohlcv.quote_volume,
        ohlcv.trade_count
    from ohlcv
    inner join instrument
        on
            ohlcv.instrument_id = instrument.instrument_id
            and ohlcv.timeframe = instrument.base_timeframe
)

select * from final
