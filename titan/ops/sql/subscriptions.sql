-- What is subscribed to, and the close of its last candle before any hole.
select
    subscription.exchange,
    subscription.symbol,
    subscription.timeframe,
    wanted.since,
    greatest(least(last_candle.closed_at, reached.reached), reached.reached - %(catch_up)s::interval) as reached
from config.subscription as subscription
left join raw.instrument_name as instrument
    on
        subscription.exchange = instrument.exchange
        and subscription.symbol = instrument.symbol
        and (subscription.symbol like '%%:%%') = (instrument.market_type <> 'spot')
        and instrument.until_at is null
-- Not from before it had its name: then it went by another one, which titan backfill asks for.
cross join
    greatest(
        coalesce(
            subscription.since::timestamp at time zone 'UTC',
            config.history_begins(subscription.exchange, subscription.timeframe, %(as_of)s::timestamptz)
        ),
        instrument.from_at
    ) as wanted (since)
-- The end of the stretch that has been asked for without a hole since the beginning; what was loaded apart comes later.
left join lateral (
    select upper(stretch.asked) as reached
    from raw.observed as observed
    cross join unnest(observed.observed) as stretch (asked)
    where
        observed.instrument_id = instrument.instrument_id
        and observed.timeframe = subscription.timeframe
        and stretch.asked @> wanted.since
) as reached on true
left join lateral (
    select ohlcv.closed_at
    from raw.ohlcv as ohlcv
    where
        ohlcv.instrument_id = instrument.instrument_id
        and ohlcv.timeframe = subscription.timeframe
        and ohlcv.closed_at <= reached.reached
    order by ohlcv.closed_at desc
    limit 1
) as last_candle on true
where subscription.is_active
order by subscription.exchange, subscription.timeframe, subscription.symbol
