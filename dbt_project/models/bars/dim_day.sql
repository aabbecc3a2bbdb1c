{{ config(materialized='view') }}

select generated.day_at::date as date_day from generate_series('1970-01-01', '2069-12-31', interval '1 day') as generated (day_at)
