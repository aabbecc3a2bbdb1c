-- The costs and delistings of a run as it keeps them, and the instruments that no row of costs stands for.
select
    (
        select coalesce(jsonb_agg(to_jsonb(cost) order by exchange, market_type), '[]')::text
        from {work_cost} as cost
    ) as costs,
    (
        select coalesce(jsonb_agg(to_jsonb(gone) order by exchange, market_type, symbol), '[]')::text
        from {work_delisting} as gone
    ) as delistings,
    (
        select
            string_agg(distinct concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol), ', ')
        from {work_range} as ranged
        inner join bars.dim_instrument as instrument on ranged.instrument_id = instrument.instrument_id
        where
            not exists (
                select
                from {work_cost} as cost
                where
                    cost.exchange in (instrument.exchange, '*')
                    and cost.market_type in (instrument.market_type, '*')
            )
    ) as uncharged
