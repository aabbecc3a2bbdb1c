{#-
  The units of `fills` from their entries to their exits; those that are open still are marked to the last close in `marks`, which has one row
  per bar, and per signal if of_signal.
-#}
{% macro trades(fills, marks, of_signal=true) -%}
with closed as (
    select
        instrument_id,
        timeframe,
        signal,
        trade_number,
        direction,
        entry_known_at,
        entry_at,
        entry_price,
        realistic_entry_price,
        known_at as exit_known_at,
        filled_at as exit_at,
        closed_at,
        price as exit_price,
        realistic_price as realistic_exit_price,
        reason as exit_reason,
        false as is_open,
        quantity,
        realistic_quantity,
        entry_fee + fee as fees,
        borrow
    from {{ fills }}
    where action = 'exit'
),

last_fill as (
    select distinct on (instrument_id, timeframe, signal)
        instrument_id,
        timeframe,
        signal,
        units
    from {{ fills }}
    order by instrument_id asc, timeframe asc, signal asc, closed_at desc, fill_number desc
),

-- Marked at the close of the last bar, as if they left there.
still_open as (
    select
        last_fill.instrument_id,
        last_fill.timeframe,
        last_fill.signal,
        unit.trade_number,
        case unit.direction when 1 then 'long' else 'short' end as direction,
        unit.known_at as entry_known_at,
        unit.entry_at,
        unit.entry_price,
        unit.realistic_entry_price,
        null::timestamptz as exit_known_at,
        null::timestamptz as exit_at,
        null::timestamptz as closed_at,
        mark.close as exit_price,
        mark.close as realistic_exit_price,
        null::text as exit_reason,
        true as is_open,
        unit.quantity,
        unit.realistic_quantity,
        unit.entry_fee as fees,
        unit.borrow_per_day * extract(epoch from mark.closed_at - unit.entry_at)::float8 / 86400 as borrow
    from last_fill
    cross join lateral unnest(last_fill.units) as unit
    cross join
        lateral (
            select
                equity.close,
                equity.closed_at
            from {{ marks }} as equity
            where
                equity.instrument_id = last_fill.instrument_id
                and equity.timeframe = last_fill.timeframe
                {%- if of_signal %}
                and equity.signal = last_fill.signal
                {%- endif %}
            order by equity.closed_at desc
            limit 1
        ) as mark
),

trade as (
    select * from closed
    union all
    select * from still_open
)

select
    trade.*,
    sign.direction * (trade.exit_price / trade.entry_price - 1) as clean_return,
    sign.direction * trade.quantity * (trade.exit_price - trade.entry_price) as clean_profit,
    (
        sign.direction * (trade.realistic_exit_price - trade.realistic_entry_price)
        - (trade.fees + trade.borrow) / trade.realistic_quantity
    ) / trade.realistic_entry_price as realistic_return,
    sign.direction * trade.realistic_quantity * (trade.realistic_exit_price - trade.realistic_entry_price)
    - trade.fees - trade.borrow as realistic_profit
from trade
cross join lateral (select case trade.direction when 'long' then 1 else -1 end as direction) as sign
{%- endmacro %}
