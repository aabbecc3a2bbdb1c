-- One id from a run to its load batches, builds and gate results. It travels as a setting of the connection, so whatever
-- writes, the loader, dbt or a trigger, stamps its rows with it and passes nothing on.
create function ops.current_run() returns uuid language sql stable as $$
    select nullif(current_setting('titan.run_id', true), '')::uuid
$$;
comment on function ops.current_run() is 'The run that this connection works for (the setting titan.run_id); null outside of one.';

create table ops.run (
    run_id uuid primary key default ops.current_run(),
    command text not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    outcome text check (outcome in ('done', 'done in part', 'failed')),
    message text
);
comment on table ops.run is
'One row per pipeline or poll that held the lock. No outcome: it is under way, or its process was killed.';

create table ops.step (
    run_id uuid not null references ops.run,
    step text not null,
    attempt integer not null check (attempt > 0),
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    outcome text check (outcome in ('done', 'failed')),
    message text,
    primary key (run_id, step, attempt)
);
comment on table ops.step is 'One row per attempt at a step of a run.';

create table ops.build (
    invocation_id uuid primary key,
    run_id uuid default ops.current_run(),
    command text not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    node_count integer not null,
    failed jsonb not null default '[]'
);
create index build_run on ops.build (run_id);
comment on table ops.build is 'One row per dbt run, test or build, by whomever it was called; written by dbt itself.';
comment on column ops.build.failed is 'Nodes that did not succeed: name, status, message.';

alter table raw.load_batch
    add column run_id uuid default ops.current_run(),
    add column is_stopped boolean not null default false;
create index load_batch_run on raw.load_batch (run_id);
comment on column raw.load_batch.is_stopped is 'Whether the gate stopped the batch whole: none of its candles was promoted.';
