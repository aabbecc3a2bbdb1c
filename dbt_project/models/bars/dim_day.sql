{{ config(materialized='view') }}

select day_span.started_at::date as date_day
from generate_series('1970-01-01', '2069-12-31', interval '1 day') as day_span (started_at)
