{{ config(memory='whole', key=['timeframe']) }}

with timeframe as (
    select * from {{ source('config', 'timeframe') }}
),

final as (
    select
        timeframe,
        label,
        base_unit,
        quantity,
        tf_days,
        tf_days_min,
        tf_days_max,
        alignment,
        calendar_scheme,
        is_intraday,
        is_anchored,
        allow_partial_start,
        allow_partial_end,
        is_canonical,
        compute_features,
        sort_order,
        -- A month has no fixed length: its mean over the 400 years of the Gregorian calendar serves to count months.
        quantity * case base_unit
            when 'MIN' then 60
            when 'H' then 3600
            when 'W' then 604800
            when 'MO' then 2629746
            when 'Y' then 31556952
            else 86400
        end as duration_seconds
    from timeframe
)

select * from final
