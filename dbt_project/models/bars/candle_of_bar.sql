{{ config(materialized='view') }}

-- Around the clock, bars count from 1970-01-01 00:00 UTC. In a session they count from its open and the last one ends with
-- it. Candles that do not begin on a multiple of their own length from the open fit no such bar: only the day holds them.
-- One select, without `with`: the planner reaches through it to the index of the candles.
{%- set duration = 'make_interval(secs => timeframe.duration_seconds)' %}
{%- set bar_opened_at -%}
case
        when instrument.is_24_7
            then date_bin({{ duration }}, candle.opened_at, timestamptz 'epoch')
        when timeframe.is_intraday
            then candle.session_opened_at + make_interval(
                secs => timeframe.duration_seconds * floor(
                    extract(epoch from candle.opened_at - candle.session_opened_at) / timeframe.duration_seconds
                )
            )
        else candle.session_opened_at
    end
{%- endset %}

select
    candle.instrument_id,
    timeframe.timeframe,
    candle.closed_at,
    candle.open,
    candle.high,
    candle.low,
    candle.close,
    candle.volume,
    candle.quote_volume,
    candle.trade_count,
    candle.price_factor,
    candle.base_seconds,
    {{ bar_opened_at }} as bar_opened_at,
    case
        when not instrument.is_24_7 and not timeframe.is_intraday then candle.session_closed_at
        else least({{ bar_opened_at }} + {{ duration }}, candle.session_closed_at)
    end as bar_closed_at
from {{ ref('candle') }} as candle
inner join {{ ref('dim_instrument') }} as instrument
    on
        candle.instrument_id = instrument.instrument_id
        and candle.timeframe = instrument.base_timeframe
inner join {{ ref('dim_timeframe') }} as base
    on instrument.base_timeframe = base.timeframe and base.is_intraday
inner join {{ ref('dim_timeframe') }} as timeframe
    on
        (timeframe.is_intraday or timeframe.timeframe = '1D')
        and base.duration_seconds < timeframe.duration_seconds
        and timeframe.duration_seconds % base.duration_seconds = 0
where
    candle.is_in_session
    {%- if engine() == 'community' %}
    and not (instrument.is_24_7 and timeframe.timeframe in ('{{ aggregate_timeframes() | join("', '") }}'))
    {%- endif %}
    and (
        instrument.is_24_7
        or not timeframe.is_intraday
        or mod(
            extract(epoch from candle.opened_at - candle.session_opened_at)::bigint, base.duration_seconds
        ) = 0
    )
