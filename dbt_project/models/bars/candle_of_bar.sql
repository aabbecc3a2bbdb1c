{{ config(materialized='view') }}

-- Around the clock, bars count from 1970-01-01 00:00 UTC. In a session they count from its open and the last one ends with
-- it. Candles that do not begin on a multiple of their own length from the open fit no such bar: only the day holds them.
with instrument as (
    select
        instrument.instrument_id,
        instrument.base_timeframe,
        instrument.is_24_7,
        timeframe.duration_seconds as base_seconds
    from {{ ref('dim_instrument') }} as instrument
    inner join {{ ref('dim_timeframe') }} as timeframe on instrument.base_timeframe = timeframe.timeframe
    where timeframe.is_intraday
),

timeframe as (
    select
        timeframe,
        is_intraday,
        duration_seconds,
        make_interval(secs => duration_seconds) as duration
    from {{ ref('dim_timeframe') }}
    where is_intraday or timeframe = '1D'
),

placed as (
    select
        candle.*,
        timeframe.timeframe as bar_timeframe,
        timeframe.duration,
        timeframe.is_intraday,
        case
            when instrument.is_24_7 then date_bin(timeframe.duration, candle.opened_at, timestamptz 'epoch')
            when timeframe.is_intraday
                then candle.session_opened_at + timeframe.duration * floor(
                    extract(epoch from candle.opened_at - candle.session_opened_at) / timeframe.duration_seconds
                )::integer
            else candle.session_opened_at
        end as bar_opened_at
    from {{ ref('candle') }} as candle
    inner join instrument
        on
            candle.instrument_id = instrument.instrument_id
            and candle.timeframe = instrument.base_timeframe
    inner join timeframe
        on
            instrument.base_seconds < timeframe.duration_seconds
            and timeframe.duration_seconds % instrument.base_seconds = 0
    where
        candle.is_in_session
        {%- if engine() == 'community' %}
        and not (instrument.is_24_7 and timeframe.timeframe in ('{{ aggregate_timeframes() | join("', '") }}'))
        {%- endif %}
        and (
            instrument.is_24_7
            or not timeframe.is_intraday
            or mod(extract(epoch from candle.opened_at - candle.session_opened_at)::bigint, instrument.base_seconds) = 0
        )
)

select
    instrument_id,
    bar_timeframe as timeframe,
    closed_at,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    price_factor,
    base_seconds,
    bar_opened_at,
    case
        when is_24_7 then bar_opened_at + duration
        when is_intraday then least(bar_opened_at + duration, session_closed_at)
        else session_closed_at
    end as bar_closed_at
from placed
