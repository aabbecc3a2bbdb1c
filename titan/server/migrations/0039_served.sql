-- What reconciling each series came to, for who asks whether its numbers can be trusted.
create table ops.series_reconciliation (
    instrument_id integer primary key references raw.instrument on delete cascade,
    reconciled_at timestamptz not null default clock_timestamp(),
    compared bigint not null,
    differing bigint not null
);
comment on table ops.series_reconciliation is
'One row per instrument whose bars, all of them, were compared with raw candles by titan reconcile: how many there were the last time, and how many differed.';

insert into config.kept (relation, rule, kept, is_by_age) values
('ops.series_reconciliation', 'one row per instrument', null, false);
