-- One process watches (titan watch). What it learns of an exchange outlasts it, and what its many small loads leave does not pile up.
create table locks.watch ();
comment on table locks.watch is 'Locked while somebody watches the series of config.subscription.';

create table ops.exchange_delay (
    exchange text,
    timeframe text,
    seconds double precision not null check (seconds >= 0),
    learnt_at timestamptz not null default clock_timestamp(),
    primary key (exchange, timeframe)
);
comment on table ops.exchange_delay is
'One row per exchange and timeframe: seconds from a candle''s close until it is asked for, as titan watch learnt them.';

create function ops.prune_gate_results(kept interval default '30 days') returns bigint language sql as $$
    with pruned as (
        delete from ops.gate_result
        using raw.load_batch
        where
            gate_result.batch_id = load_batch.batch_id
            and gate_result.judged_at < clock_timestamp() - kept
            and load_batch.source = 'exchange'
            and not load_batch.is_stopped
            and not exists (
                select from jsonb_to_recordset(gate_result.results) as result (is_met boolean) where not result.is_met
            )
        returning 1
    )
    select count(*) from pruned
$$;
comment on function ops.prune_gate_results(interval) is
'Forget what the gate found of exchanges'' batches that met every expectation, once it is so old; returns how many.';
