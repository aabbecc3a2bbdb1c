{{ config(memory='whole', key=['indicator']) }}

select
    indicator,
    kernel,
    params,
    is_enabled
from {{ source('config', 'indicator') }}
