-- Makes the landed candles current, in one statement that reads them once: what is new is inserted, what differs is updated
-- and its old version kept, what is equal is not touched, and the change feed learns the ranges. Every part sees the table
-- as it was before the statement.
-- The bounds are literals: hypertables prune their chunks by constants alone.
with difference as materialized (
    select
        {instrument_id} as instrument_id,
        landing.opened_at,
        {closed_at} as closed_at,
        landing.open,
        landing.high,
        landing.low,
        landing.close,
        landing.volume,
        landing.quote_volume,
        landing.trade_count,
        standing.closed_at is null as is_new
    from landing
    left join {standing} as standing
        on
            standing.instrument_id = {instrument_id}
            and standing.instrument_id between {first_instrument} and {last_instrument}
            and standing.timeframe = {timeframe}
            and standing.closed_at = {closed_at}
            and standing.closed_at between {first_at} and {last_at}
    where
        standing.closed_at is null
        or standing.open <> landing.open
        or standing.high <> landing.high
        or standing.low <> landing.low
        or standing.close <> landing.close
        or standing.volume <> landing.volume
        or standing.quote_volume is distinct from landing.quote_volume
        or standing.trade_count is distinct from landing.trade_count
),

-- Apart, or a join that reads the difference again for every standing row would go through all that is new each time.
revised as materialized (
    select * from difference
    where not is_new
),

kept as (
    insert into raw.ohlcv_revision (
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count,
        from_batch, to_batch
    )
    select
        standing.instrument_id, standing.timeframe, standing.opened_at, standing.closed_at, standing.open, standing.high,
        standing.low, standing.close, standing.volume, standing.quote_volume, standing.trade_count, standing.batch_id,
        {batch_id}
    from revised
    inner join raw.ohlcv as standing
        on
            revised.instrument_id = standing.instrument_id
            and standing.timeframe = {timeframe}
            and revised.closed_at = standing.closed_at
            and standing.closed_at between {first_at} and {last_at}
),

inserted as (
    insert into raw.ohlcv (
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count, batch_id
    )
    select
        instrument_id, {timeframe}, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count,
        {batch_id}
    from difference
    where is_new
),

updated as (
    update raw.ohlcv as standing
    set
        open = revised.open,
        high = revised.high,
        low = revised.low,
        close = revised.close,
        volume = revised.volume,
        quote_volume = revised.quote_volume,
        trade_count = revised.trade_count,
        batch_id = {batch_id}
    from revised
    where
        standing.instrument_id = revised.instrument_id
        and standing.timeframe = {timeframe}
        and standing.closed_at = revised.closed_at
        and standing.closed_at between {first_at} and {last_at}
),

changed as (
    -- From just after the first changed candle opens: a model may close a candle of a session earlier in its period.
    select
        instrument_id,
        min(opened_at) + interval '1 microsecond' as first_at,
        max(closed_at) as last_at,
        bool_or(is_new) as is_insert_or_delete,
        count(*) filter (where is_new) as inserted_count,
        count(*) filter (where not is_new) as revised_count
    from difference
    group by instrument_id
),

published as (
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
    select 'raw.ohlcv', instrument_id, {timeframe}, first_at, last_at, is_insert_or_delete
    from changed
)

select
    coalesce(sum(inserted_count), 0)::bigint as inserted_count,
    coalesce(sum(revised_count), 0)::bigint as revised_count
from changed
