{{ config(memory='whole', key=['session_id']) }}

select
    session_id,
    name,
    is_24_7,
    trading_days_per_week,
    timezone,
    open_local,
    close_local
from {{ source('config', 'session') }}
