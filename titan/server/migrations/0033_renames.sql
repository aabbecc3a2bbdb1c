-- An instrument goes by other names in its time: what was MATIC/USDT is POL/USDT now, and LUNA/USDT is another coin than it was.
create table config.rename (
    exchange text not null check (exchange = lower(exchange)),
    market_type text not null default 'spot' check (market_type in ('spot', 'perpetual', 'future', 'index')),
    symbol text not null,
    new_symbol text not null check (new_symbol <> symbol),
    renamed_at timestamptz not null check (isfinite(renamed_at)),
    ratio double precision not null default 1 check (ratio > 0 and ratio < 'infinity'),
    primary key (exchange, market_type, symbol, renamed_at),
    unique (exchange, market_type, new_symbol, renamed_at)
);
comment on table config.rename is
'One row per rename of an instrument (titan rename): what went by one symbol goes by another since then. Written by that command alone, which moves candles, too.';
comment on column config.rename.renamed_at is 'A candle that closes later than this goes by the new symbol.';
comment on column config.rename.ratio is 'Units of the new asset that one of the old one became.';

create view raw.instrument_name as
with recursive name as (
    select instrument_id, exchange, market_type, symbol, 'infinity'::timestamptz as until_at
    from raw.instrument
    union all
    select name.instrument_id, name.exchange, name.market_type, earlier.symbol, earlier.renamed_at
    from name
    cross join lateral (
        select rename.symbol, rename.new_symbol, rename.renamed_at
        from config.rename as rename
        where
            rename.exchange = name.exchange
            and rename.market_type = name.market_type
            and name.symbol in (rename.symbol, rename.new_symbol)
            and rename.renamed_at < name.until_at
        order by rename.renamed_at desc
        limit 1
    ) as earlier
    where earlier.new_symbol = name.symbol  -- else the name was another one's until then
)

select
    name.instrument_id,
    name.exchange,
    name.market_type,
    name.symbol,
    (
        select max(rename.renamed_at)
        from config.rename as rename
        where
            rename.exchange = name.exchange
            and rename.market_type = name.market_type
            and name.symbol in (rename.symbol, rename.new_symbol)
            and rename.renamed_at < name.until_at
    ) as from_at,
    nullif(name.until_at, 'infinity') as until_at
from name;
comment on view raw.instrument_name is
'One row per instrument and symbol that it went by: candles that close in (from_at, until_at] are found under it at the exchange. Null: since ever, until now.';

create function config.names_today(exchange_name text, market text, names text[])
returns table (symbol text, until_at timestamptz, today text) language sql stable as $$
    -- Of each name the stretches between renames from it and to it. In one that ends with a rename to it, it was nobody's.
    with recursive met as (
        select name.symbol, rename.renamed_at, rename.renamed_at as reached_at, rename.symbol = name.symbol as has_begun,
            case when rename.symbol = name.symbol then rename.new_symbol end as today
        from unnest(names) as name (symbol)
        inner join config.rename as rename on name.symbol in (rename.symbol, rename.new_symbol)
        where rename.exchange = exchange_name and rename.market_type = market
        union all
        select met.symbol, met.renamed_at, later.renamed_at, met.has_begun, later.new_symbol
        from met
        cross join lateral (
            select rename.renamed_at, rename.new_symbol
            from config.rename as rename
            where
                rename.exchange = exchange_name
                and rename.market_type = market
                and rename.symbol = met.today
                and rename.renamed_at > met.reached_at
            order by rename.renamed_at
            limit 1
        ) as later
        where met.has_begun
    )

    select distinct on (met.symbol, met.renamed_at) met.symbol, met.renamed_at, met.today
    from met
    order by met.symbol, met.renamed_at, met.reached_at desc
$$;
comment on function config.names_today(text, text, text[]) is
'Of names that were given away or taken over: what goes by each until then is called today; null where it was nobody''s. After the last one it is itself.';

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on config.rename, raw.instrument_name to titan_reader;
    end if;
end $$;

create function raw.swap_after(one integer, other integer, instant timestamptz) returns table (came bigint, went bigint)
language plpgsql as $$
declare
    both_of constant integer[] := array[one, other];
    actions raw.adjustment[];
begin
    select
        count(*) filter (where tail.instrument_id = other),
        count(*) filter (where tail.instrument_id = one)
    into came, went
    from raw.ohlcv as tail
    where tail.instrument_id = any (both_of) and tail.closed_at > instant;

    if other is not null then
        -- Both instruments change wherever one of them has a candle: one that goes and one that comes.
        insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
        select 'raw.ohlcv', changed, tail.timeframe, min(tail.opened_at) + interval '1 microsecond', max(tail.closed_at)
        from raw.ohlcv as tail cross join unnest(both_of) as changed
        where tail.instrument_id = any (both_of) and tail.closed_at > instant
        group by changed, tail.timeframe;

        -- By a number that no instrument has: the key of a table is checked row by row.
        update raw.ohlcv set instrument_id = -one where instrument_id = one and closed_at > instant;
        update raw.ohlcv set instrument_id = one where instrument_id = other and closed_at > instant;
        update raw.ohlcv set instrument_id = other where instrument_id = -one;
        update raw.ohlcv_revision set instrument_id = -one where instrument_id = one and closed_at > instant;
        update raw.ohlcv_revision set instrument_id = one where instrument_id = other and closed_at > instant;
        update raw.ohlcv_revision set instrument_id = other where instrument_id = -one;

        select array_agg(action) into actions from raw.adjustment as action
        where action.instrument_id = any (both_of) and action.ex_date > (instant at time zone 'UTC')::date;
        delete from raw.adjustment
        where instrument_id = any (both_of) and ex_date > (instant at time zone 'UTC')::date;
        insert into raw.adjustment (
            instrument_id, ex_date, kind, ratio, amount, price_factor, known_at, batch_id
        )
        select
            case when action.instrument_id = one then other else one end, action.ex_date, action.kind, action.ratio,
            action.amount, action.price_factor, action.known_at, action.batch_id
        from unnest(actions) as action;
    end if;

    -- What the other one was asked about before is nothing: the symbol was nobody's then. A period across the instant is the
    -- later symbol's.
    with standing as (
        select
            coalesce(ours.timeframe, theirs.timeframe) as timeframe,
            coalesce(ours.observed, '{}'::tstzmultirange) as ours,
            coalesce(theirs.observed, '{}'::tstzmultirange) as theirs
        from (select * from raw.observed where instrument_id = one) as ours
        full join (select * from raw.observed where instrument_id = other) as theirs on ours.timeframe = theirs.timeframe
    ),

    cut as (
        select
            standing.*,
            coalesce(least(later.opened_at, instant), instant) as cut_at,
            greatest(upper(standing.ours), upper(standing.theirs)) as ends_at
        from standing
        left join lateral (
            select ohlcv.opened_at from raw.ohlcv as ohlcv
            where
                ohlcv.instrument_id = one and ohlcv.timeframe = standing.timeframe and ohlcv.closed_at > instant
            order by ohlcv.closed_at
            limit 1
        ) as later on true
    ),

    published as (
        insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
        select 'raw.observed', moved, cut.timeframe, cut.cut_at + interval '1 microsecond', cut.ends_at
        from cut cross join unnest(both_of) as moved
        where moved is not null and cut.ends_at > cut.cut_at + interval '1 microsecond'
    ),

    parted as (
        select
            one as instrument_id,
            timeframe,
            ours * tstzmultirange(tstzrange(null, cut_at)) + theirs * tstzmultirange(tstzrange(cut_at, null)) as observed
        from cut
        union all
        select other, timeframe, ours * tstzmultirange(tstzrange(cut_at, null)) from cut where other is not null
    )

    insert into raw.observed as kept (instrument_id, timeframe, observed)
    select parted.instrument_id, parted.timeframe, parted.observed from parted
    on conflict (instrument_id, timeframe) do update set observed = excluded.observed;
    delete from raw.observed where instrument_id in (one, other) and isempty(observed);

    delete from ops.asked_again where instrument_id in (one, other) and gap_closed_at > instant;
    return next;
end $$;
comment on function raw.swap_after(integer, integer, timestamptz) is
'Two instruments change what closes after an instant: candles with their versions, adjustments, what was asked; without another one it is forgotten what was asked. Returns how many candles came to the first and went from it. The change feed is told.';
