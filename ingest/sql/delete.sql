-- Deletes candles of one series, keeps their last version, and forgets that their source was ever asked about them.
with deleted as (
    delete from raw.ohlcv
    where
        instrument_id = %(instrument_id)s
        and timeframe = %(timeframe)s
        and opened_at >= %(from_at)s
        and opened_at < %(until_at)s
    returning *
),

kept as (
    insert into raw.ohlcv_revision (
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count,
        from_batch, to_batch
    )
    select
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count,
        batch_id, %(batch_id)s
    from deleted
),

unobserved as (
    update raw.observed set observed = observed - tstzmultirange(tstzrange(%(from_at)s, %(until_at)s))
    where
        instrument_id = %(instrument_id)s
        and timeframe = %(timeframe)s
        and observed && tstzrange(%(from_at)s, %(until_at)s)
    returning upper(observed) as ends_at
),

published as (
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
    select
        'raw.ohlcv', %(instrument_id)s, %(timeframe)s, min(opened_at) + interval '1 microsecond', max(closed_at)
    from deleted
    having count(*) > 0
    union all
    -- From where observation ends now: a period after that is no longer finished.
    select
        'raw.observed',
        %(instrument_id)s,
        %(timeframe)s,
        least(%(from_at)s::timestamptz, coalesce(ends_at, '-infinity')) + interval '1 microsecond',
        %(until_at)s::timestamptz
    from unobserved
)

select count(*) as deleted_count from deleted
