-- What was known of instruments at a moment: until which close, and what of that is another today.
with batch as (
    select coalesce(max(load_batch.batch_id), 0) as batch_id from raw.load_batch as load_batch
    where load_batch.promoted_at <= %(moment)s
)

select
    instrument.instrument_id,
    instrument.symbol,
    batch.batch_id,
    known.known_until,
    (select min(load_batch.promoted_at) from raw.load_batch as load_batch) as first_known_at,
    (
        select min(changed.closed_at) from (
            select candle.closed_at from raw.ohlcv as candle
            where
                candle.instrument_id = instrument.instrument_id
                and candle.timeframe = instrument.base_timeframe
                and candle.batch_id > batch.batch_id
            union all
            select revision.closed_at from raw.ohlcv_revision as revision
            where
                revision.instrument_id = instrument.instrument_id
                and revision.timeframe = instrument.base_timeframe
                and revision.from_batch <= batch.batch_id
                and revision.to_batch > batch.batch_id
        ) as changed
    ) as changed_at,
    exists (
        select from raw.adjustment as adjustment
        where adjustment.instrument_id = instrument.instrument_id and adjustment.batch_id > batch.batch_id
    )
    or exists (
        select from raw.adjustment_revision as revision
        where
            revision.instrument_id = instrument.instrument_id
            and revision.batch_id <= batch.batch_id
            and revision.replaced_at > %(moment)s
    ) as is_adjusted,
    (
        select min(audit.relation) from ops.audit as audit
        where
            audit.entered_at > %(moment)s
            and audit.action <> 'baseline'
            and audit.relation in (
                'config.session', 'config.holiday', 'config.holiday_rule', 'config.timeframe', 'config.indicator',
                'config.signal', 'config.exchange', 'config.rename', 'config.delisting'
            )
    ) as edited
from batch
cross join bars.dim_instrument as instrument
cross join
    lateral (
        select greatest(
            (
                select max(candle.closed_at) from raw.ohlcv as candle
                where
                    candle.instrument_id = instrument.instrument_id
                    and candle.timeframe = instrument.base_timeframe
                    and candle.batch_id <= batch.batch_id
            ),
            (
                select max(revision.closed_at) from raw.ohlcv_revision as revision
                where
                    revision.instrument_id = instrument.instrument_id
                    and revision.timeframe = instrument.base_timeframe
                    and revision.from_batch <= batch.batch_id
                    and revision.to_batch > batch.batch_id
            )
        ) as known_until
    ) as known
where instrument.instrument_id = any(%(instruments)s)
