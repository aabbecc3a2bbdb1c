-- The gate: what a batch has to satisfy, what was found of each, and what became of the rows that were turned away.
create table config.expectation (
    expectation text not null,
    exchange text not null default '*' check (exchange = lower(exchange)),
    suite text not null default '*' check (suite in ('*', 'intraday', 'daily')),
    severity text not null check (severity in ('critical', 'warning', 'info')),
    threshold double precision check (threshold >= 0 and threshold < 'infinity'),
    primary key (expectation, exchange, suite)
);
comment on table config.expectation is
'How severe each expectation of a batch is, and its threshold; one row per expectation, source and suite, of which the most '
'specific counts: a source before *, then a suite before *. Names that do not exist are refused by the next load.';
comment on column config.expectation.expectation is
'A predicate of expectations/predicates.py or a measure of expectations/measures.py.';
comment on column config.expectation.severity is
'critical stops the batch whole; warning puts the failing rows into quarantine (a predicate) or is said and recorded (a '
'measure); info is recorded only, for measures alone.';
comment on column config.expectation.threshold is 'Of a measure, in its unit; null for a predicate.';

insert into config.expectation (expectation, suite, severity, threshold) values
('bad_row_share', '*', 'critical', 0.1),
('completeness', '*', 'warning', 0.95),
('periods_behind', '*', 'warning', 2),
('largest_log_return', 'intraday', 'warning', 0.5),
('largest_log_return', 'daily', 'warning', 1),
('zero_volume_share', '*', 'warning', 0.5);

create table ops.gate_result (
    batch_id bigint primary key references raw.load_batch,
    run_id uuid default ops.current_run(),
    suite text not null,
    verdict text not null check (verdict in ('passed', 'warned', 'stopped')),
    results jsonb not null,
    profile jsonb not null,
    judged_at timestamptz not null default clock_timestamp()
);
create index gate_result_run on ops.gate_result (run_id);
comment on table ops.gate_result is 'One row per load batch: what Great Expectations found of it.';
comment on column ops.gate_result.results is 'One object per expectation; ops.expectation_result has them as rows.';
comment on column ops.gate_result.profile is 'What was judged: one object per series, with its counts and measures.';

create view ops.expectation_result as
select
    gate_result.batch_id,
    gate_result.run_id,
    gate_result.suite,
    result.expectation,
    result.severity,
    result.threshold,
    result.is_met,
    result.observed,
    result.series,
    gate_result.judged_at
from ops.gate_result
cross join lateral jsonb_to_recordset(gate_result.results) as result (
    expectation text, severity text, threshold double precision, is_met boolean, observed double precision, series jsonb
);
comment on view ops.expectation_result is
'One row per batch and expectation. observed is the worst value of any series; series names up to twenty that fail.';

alter table raw.quarantine
    add column session_id text,
    add column candle jsonb,
    add column resolution text check (resolution in ('released', 'dropped')),
    add column resolved_at timestamptz,
    add column resolved_by text,
    add column resolved_batch bigint,
    add check ((resolution is null) = (resolved_at is null));
create index quarantine_batch on raw.quarantine (batch_id);
comment on column raw.quarantine.session_id is 'The trading session in which its time was read.';
comment on column raw.quarantine.candle is 'What could be read of the record, opened_at in UTC; null if nothing could.';
comment on column raw.quarantine.resolution is
'released: a candle of this record was promoted; dropped: somebody decided that it is bad. Null: open. The row stays.';
comment on column raw.quarantine.resolved_batch is 'The batch that promoted it.';
