{{ config(memory='whole', key=['timeframe']) }}

with timeframe as (
    select * from {{ source('config', 'timeframe') }}
),

final as (
    select
        timeframe,
        base_unit,
        quantity,
        is_intraday,
        -- A month has no fixed length: its mean over the 400 years of the Gregorian calendar serves to count months.
        quantity * case base_unit
            when 'MIN' then 60
            when 'H' then 3600
            when 'D' then 86400
            when 'W' then 604800
            when 'MO' then 2629746
        end as duration_seconds
    from timeframe
)

select * from final
