{{ config(materialized='view') }}

with instrument as (
    select * from {{ ref('dim_instrument') }}
),

session as (
    select * from {{ ref('dim_session') }}
),

timeframe as (
    select * from {{ ref('dim_timeframe') }}
),

-- 252 trading days of a week of five; a market around the clock has 365.
traded as (
    select
        instrument.instrument_id,
        case when session.is_24_7 then 365 else 50.4 * session.trading_days_per_week end as trading_days,
        case
            when session.is_24_7 then 86400 else extract(epoch from session.close_local - session.open_local)
        end as seconds_per_day
    from instrument
    inner join session on instrument.session_id = session.session_id
)

select
    traded.instrument_id,
    timeframe.timeframe,
    (
        case timeframe.base_unit
            when 'D' then traded.trading_days
            when 'CD' then 365
            when 'W' then 52
            when 'MO' then 12
            when 'Y' then 1
            else traded.trading_days * traded.seconds_per_day / timeframe.duration_seconds * timeframe.quantity
        end / timeframe.quantity
    )::float8 as bars_per_year
from traded
cross join timeframe
