with name as (
    select * from {{ source('raw', 'instrument_name') }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
)

select
    name.instrument_id,
    name.exchange,
    name.market_type,
    instrument.symbol,
    name.symbol as symbol_then,
    name.from_at as valid_after,
    name.until_at as valid_until
from name
inner join instrument on name.instrument_id = instrument.instrument_id
