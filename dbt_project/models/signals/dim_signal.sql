{{ config(memory='whole', key=['signal']) }}

select
    signal,
    type,
    timeframe,
    params,
    direction,
    execution,
    is_enabled,
    encode(
        sha256(convert_to(concat_ws('|', type, timeframe, direction, params::text, execution::text), 'UTF8')), 'hex'
    ) as params_hash
from {{ source('config', 'signal') }}
