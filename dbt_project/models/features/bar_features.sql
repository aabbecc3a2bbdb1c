{{ config(memory='recursive', key=['instrument_id', 'timeframe', 'closed_at'], hypertable='90 days', frozen='base') }}

with bars as (
    select * from {{ feed(ref('fct_bars'), preceding=1) }}
),

gap as (
    select * from {{ feed(ref('gap')) }}
),

timeframe as (
    select * from {{ ref('dim_timeframe') }}
    where compute_features
),

followed as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        close,
        lag(close) over (partition by instrument_id, timeframe order by closed_at) as previous_close
    from bars
    where timeframe in (select timeframe.timeframe from timeframe)
),

-- A return has no meaning across time that nobody saw, nor from or to a price of zero.
comparable as (
    select
        followed.*,
        gap.gap_kind as gap_before,
        case
            when followed.previous_close > 0 and coalesce(gap.gap_kind not in ('outage', 'not_fetched'), true)
                then followed.previous_close
        end as reference_close
    from followed
    left join gap
        on
            followed.instrument_id = gap.instrument_id
            and followed.timeframe = gap.timeframe
            and followed.closed_at = gap.closed_at
),

final as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        close,
        gap_before,
        close / reference_close - 1 as simple_return,
        ln(nullif(close, 0) / reference_close) as log_return
    from comparable
)

select * from final
