-- The bars of continuous aggregates that are about to be frozen go into the table beside them. A refresh, by whomever,
-- makes aggregates anew of the candles that are left; it has no reach there.
insert into bars.rollup_stored (
    instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count,
    price_factor, bar_count, missing_count, is_partial
)
select
    bar.instrument_id,
    bar.timeframe,
    bar.opened_at,
    bar.closed_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.quote_volume,
    bar.trade_count,
    bar.price_factor,
    bar.bar_count,
    bar.missing_count,
    bar.is_partial
from bars.rollup as bar
where
    exists (
        select
        from raw.instrument as instrument
        inner join config.session as session on instrument.session_id = session.session_id
        where
            instrument.instrument_id = bar.instrument_id
            and session.is_24_7
            and bar.closed_at <= date_trunc('day', %(until)s::timestamptz, session.timezone)
    )
    and not exists (
        select
        from ops.horizon as horizon
        where horizon.instrument_id = bar.instrument_id and horizon.horizon_at >= bar.closed_at
    )
on conflict do nothing
