-- Takes note of an exchange's list of markets: rows that hold no longer end now, what is new or otherwise begins now.
-- What is missing ends only if `is_whole`. Returns what changed.
with seen as (
    select *
    from unnest(
        %(market_types)s::text[], %(symbols)s::text[], %(own_names)s::text[], %(are_trading)s::boolean[],
        %(lot_sizes)s::double precision[], %(tick_sizes)s::double precision[], %(least_notionals)s::double precision[]
    ) as seen (market_type, symbol, own_name, is_trading, lot_size, tick_size, least_notional)
),

standing as (
    select * from raw.listing
    where exchange = %(exchange)s and to_at is null
),

compared as (
    select
        standing.listing_id,
        seen.symbol is null as is_gone,
        coalesce(seen.market_type, standing.market_type) as market_type,
        coalesce(seen.symbol, standing.symbol) as symbol,
        standing.own_name as old_name,
        standing.is_trading as was_trading,
        seen.own_name,
        seen.is_trading,
        seen.lot_size,
        seen.tick_size,
        seen.least_notional
    from seen
    full join standing
        on seen.market_type = standing.market_type and seen.symbol = standing.symbol
    where
        (seen.own_name, seen.is_trading, seen.lot_size, seen.tick_size, seen.least_notional) is distinct from
        (standing.own_name, standing.is_trading, standing.lot_size, standing.tick_size, standing.least_notional)
        and (seen.symbol is not null or %(is_whole)s)
),

ended as (
    update raw.listing as listing
    set to_at = %(now)s
    from compared
    where listing.listing_id = compared.listing_id and listing.from_at < %(now)s
    returning listing.listing_id
),

begun as (
    insert into raw.listing (
        exchange, market_type, symbol, own_name, is_trading, lot_size, tick_size, least_notional, from_at
    )
    select %(exchange)s, market_type, symbol, own_name, is_trading, lot_size, tick_size, least_notional, %(now)s
    from compared
    where not is_gone and (listing_id is null or listing_id in (select ended.listing_id from ended))
)

select
    compared.market_type,
    compared.symbol,
    case
        when compared.listing_id is null then 'is listed'
        when compared.is_gone then 'is listed no longer'
        when compared.was_trading and not compared.is_trading then 'is halted'
        when compared.is_trading and not compared.was_trading then 'is traded again'
        when compared.own_name <> compared.old_name then 'is called ' || compared.own_name
        else 'is traded in other steps'
    end as change,
    instrument.instrument_id is not null as is_ours
from compared
left join raw.instrument as instrument
    on
        instrument.exchange = %(exchange)s
        and compared.market_type = instrument.market_type
        and compared.symbol = instrument.symbol
order by compared.symbol
