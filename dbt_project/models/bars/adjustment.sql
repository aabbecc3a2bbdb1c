{{ config(memory='recursive', key=['instrument_id', 'timeframe', 'closed_at'], frozen='base') }}

with event as (
    select * from {{ feed(ref('adjustment_event')) }}
),

ohlcv as (
    select * from {{ source('raw', 'ohlcv') }}
),

-- A dividend is worth what it takes off the last price before it.
priced as (
    select
        event.*,
        reference.close as reference_close
    from event
    left join lateral (
        select ohlcv.close
        from ohlcv
        where
            ohlcv.instrument_id = event.instrument_id
            and ohlcv.timeframe = event.timeframe
            and ohlcv.closed_at <= event.ex_at
        order by ohlcv.closed_at desc
        limit 1
    ) as reference on event.amount is not null
),

judged as (
    select
        *,
        kind = 'split' or price_factor is not null or coalesce(reference_close > amount, false) as is_applied
    from priced
),

-- Several that became known at one moment all count from then on; the product of none is 1.
final as (
    select
        instrument_id,
        timeframe,
        closed_at,
        ops.product(ratio order by ex_at) filter (where kind = 'split') as split_ratio,
        ops.product(coalesce(price_factor, (reference_close - amount) / reference_close) order by ex_at) filter (
            where kind = 'dividend' and is_applied
        ) as dividend_factor,
        bool_and(is_applied) as is_applied
    from judged
    group by instrument_id, timeframe, closed_at
)

select * from final
