{{ config(materialized='view') }}

select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    gap_before,
    simple_return,
    log_return
from {{ ref('bar_features') }}
