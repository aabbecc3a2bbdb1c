{{ config(memory='bucket', key=['instrument_id']) }}

with instrument as (
    select * from {{ source('raw', 'instrument') }}
    where base_timeframe is not null
),

session as (
    select * from {{ ref('dim_session') }}
),

exchange as (
    select * from {{ source('config', 'exchange') }}
),

final as (
    select
        instrument.instrument_id,
        instrument.exchange,
        instrument.market_type,
        instrument.symbol,
        split_part(instrument.symbol, '/', 1) as base_asset,
        nullif(split_part(split_part(instrument.symbol, '/', 2), ':', 1), '') as quote_asset,
        instrument.base_timeframe,
        instrument.session_id,
        session.is_24_7,
        session.timezone,
        session.open_local,
        session.close_local,
        coalesce(own.prints_empty_candles, other.prints_empty_candles) as prints_empty_candles,
        coalesce(own.outage_after, other.outage_after) as outage_after
    from instrument
    inner join session on instrument.session_id = session.session_id
    left join exchange as own on instrument.exchange = own.exchange
    left join exchange as other on other.exchange = '*'
)

select * from final
