{{ config(memory='bucket', key=['instrument_id', 'timeframe']) }}

with observed as (
    select * from {{ source('raw', 'observed') }}
)

select
    instrument_id,
    timeframe,
    observed,
    upper(observed) as observed_until
from observed
