{{ config(materialized='view') }}

-- From the first local moment of the ex-date on prices trade without it; if it became known later, from then on.
select
    adjustment.instrument_id,
    instrument.base_timeframe as timeframe,
    adjustment.ex_date::timestamp at time zone instrument.timezone as ex_at,
    greatest(adjustment.ex_date::timestamp at time zone instrument.timezone, adjustment.known_at) as closed_at,
    adjustment.kind,
    adjustment.ratio,
    adjustment.amount,
    adjustment.price_factor
from {{ source('raw', 'adjustment') }} as adjustment
inner join {{ ref('dim_instrument') }} as instrument on adjustment.instrument_id = instrument.instrument_id
