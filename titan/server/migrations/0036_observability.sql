-- What took how long (spans), how much there is of what (metrics), and for how long any of it is kept.

-- By month: what is old goes with its table, and nothing has to be vacuumed.
create table ops.trace (
    trace_id uuid not null,
    span_id text not null check (span_id ~ '^[0-9a-f]{16}$'),
    parent_id text check (parent_id ~ '^[0-9a-f]{16}$'),
    run_id uuid,
    name text not null,
    subject text,
    started_at timestamptz not null,
    seconds double precision not null check (seconds >= 0),
    is_failed boolean not null default false,
    message text,
    details jsonb not null default '{}',
    written_in xid8 not null default pg_current_xact_id()
) partition by range (started_at);
create index trace_of on ops.trace (trace_id);
create index trace_name on ops.trace (name, subject, started_at);
create index trace_written on ops.trace (written_in);
comment on table ops.trace is
'One row per span: something that was done, and how long it took; the ids are those of the W3C''s trace context. Partitioned by month (UTC).';
comment on column ops.trace.trace_id is 'The run''s id, one of a watch''s cycle, or that of who called (TRACEPARENT).';
comment on column ops.trace.parent_id is 'The span that it was a part of; null for the whole.';
comment on column ops.trace.run_id is 'The run that it belonged to: ops.run, raw.load_batch.run_id, every line of the log.';
comment on column ops.trace.subject is 'What it was done to: a model, a file, an exchange''s series.';
comment on column ops.trace.written_in is 'The transaction that wrote it, by which it is passed on (OpenTelemetry).';

create table ops.metric (
    measured_at timestamptz not null,
    metric text not null,
    subject text not null default '',
    value double precision not null
) partition by range (measured_at);
create index metric_of on ops.metric (metric, subject, measured_at);
comment on table ops.metric is
'One row per measurement, metric and subject (ops.measure): every five minutes, sizes of tables every hour. Partitioned by month (UTC).';

create function ops.make_month(parent regclass, at timestamptz) returns void language plpgsql as $$
declare
    month constant timestamp := date_trunc('month', at at time zone 'UTC');
    month_name constant text := (select relname || to_char(month, '"_"YYYY"_"MM') from pg_class where oid = parent);
begin
    if to_regclass('ops.' || month_name) is not null then
        return;
    end if;
    -- Of two that need it at once, one makes it. Who reads or writes other months goes on.
    execute format('lock table %s in share update exclusive mode', parent);
    if to_regclass('ops.' || month_name) is null then
        execute format('create table ops.%I (like %s including defaults including constraints)', month_name, parent);
        execute format(
            'alter table %s attach partition ops.%I for values from (%L) to (%L)',
            parent, month_name, month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC'
        );
        if exists (select from pg_roles where rolname = 'titan_reader') then
            execute format('grant select on ops.%I to titan_reader', month_name);
        end if;
    end if;
end $$;
comment on function ops.make_month(regclass, timestamptz) is 'Makes the partition of a month of ops.trace or ops.metric, unless it is there.';

create function ops.record_spans(spans jsonb) returns void language plpgsql as $$
begin
    perform ops.make_month('ops.trace', month.at)
    from (
        select distinct date_trunc('month', span.started_at, 'UTC') as at
        from jsonb_to_recordset(spans) as span (started_at timestamptz)
    ) as month;
    insert into ops.trace (trace_id, span_id, parent_id, run_id, name, subject, started_at, seconds, is_failed, message, details)
    select
        coalesce(span.trace_id, ops.current_trace(), gen_random_uuid()),
        coalesce(span.span_id, lpad(to_hex((random() * 9e18)::bigint + 1), 16, '0')),
        span.parent_id,
        coalesce(span.run_id, ops.current_run()),
        span.name,
        left(span.subject, 500),
        span.started_at,
        greatest(span.seconds, 0),
        coalesce(span.is_failed, false),
        left(span.message, 2000),
        coalesce(span.details, '{}')
    from jsonb_to_recordset(spans) as span (
        trace_id uuid, span_id text, parent_id text, run_id uuid, name text, subject text, started_at timestamptz,
        seconds double precision, is_failed boolean, message text, details jsonb
    );
end $$;
comment on function ops.record_spans(jsonb) is 'Writes spans: an array of objects with the columns of ops.trace.';

-- As the environment and HTTP carry it, so a connection does: 00-trace-span-01.
create function ops.current_trace() returns uuid language sql stable as $$
    select coalesce(
        nullif(split_part(current_setting('titan.traceparent', true), '-', 2), '')::uuid,
        ops.current_run()
    )
$$;
comment on function ops.current_trace() is 'The trace that this connection works for: of the setting titan.traceparent, or else the run.';

create function ops.current_span() returns text language sql stable as $$
    select nullif(split_part(current_setting('titan.traceparent', true), '-', 3), '')
$$;
comment on function ops.current_span() is 'The span that what this connection does is a part of; null for none.';

create function ops.record_nodes(nodes jsonb) returns void language sql as $$
    select ops.record_spans(jsonb_agg(node || jsonb_build_object('trace_id', trace.trace_id, 'parent_id', trace.parent_id)))
    from (select coalesce(ops.current_trace(), gen_random_uuid()) as trace_id, ops.current_span() as parent_id) as trace
    cross join jsonb_array_elements(nodes) as node
    having count(*) > 0
$$;
comment on function ops.record_nodes(jsonb) is 'Writes what dbt did as spans, parts of the one that this connection works for.';

create function ops.spans_of(of_trace uuid)
returns table (depth integer, span text, started_at timestamptz, seconds double precision, is_failed boolean, message text, details jsonb)
language sql stable as $$
    with recursive walked as (
        select 0 as depth, array[root.started_at::text || root.span_id] as place, root.*
        from ops.trace as root
        where root.trace_id = of_trace and not exists (
            select from ops.trace as parent where parent.trace_id = of_trace and parent.span_id = root.parent_id
        )
        union all
        select walked.depth + 1, walked.place || (child.started_at::text || child.span_id), child.*
        from walked
        inner join ops.trace as child on child.trace_id = of_trace and child.parent_id = walked.span_id
        where walked.depth < 50
    )
    select
        walked.depth, repeat('  ', walked.depth) || concat_ws(' ', walked.name, walked.subject), walked.started_at,
        walked.seconds, walked.is_failed, walked.message, walked.details
    from walked
    order by walked.place
$$;
comment on function ops.spans_of(uuid) is
'The spans of a trace as a tree, in the order in which they began: where the time of a run went.';

create view ops.slower as
select
    latest.name, latest.subject, latest.action, latest.started_at, latest.trace_id, latest.seconds,
    week.median_seconds, week.span_count
from (
    select distinct on (trace.name, trace.subject, trace.details ->> 'action')
        trace.name, trace.subject, trace.details ->> 'action' as action, trace.started_at, trace.trace_id, trace.seconds
    from ops.trace as trace
    where not trace.is_failed and trace.started_at > clock_timestamp() - interval '7 days'
    order by trace.name, trace.subject, trace.details ->> 'action', trace.started_at desc
) as latest
cross join lateral (
    select percentile_cont(0.5) within group (order by earlier.seconds) as median_seconds, count(*) as span_count
    from ops.trace as earlier
    where
        earlier.name = latest.name
        and earlier.subject is not distinct from latest.subject
        and earlier.details ->> 'action' is not distinct from latest.action
        and not earlier.is_failed
        and earlier.started_at between clock_timestamp() - interval '7 days' and latest.started_at
) as week
where week.span_count > 5 and latest.seconds > 2 * week.median_seconds;
comment on view ops.slower is
'One row per kind of span and subject whose last one took more than twice its median of seven days, where there were more than five.';

-- How it stands with everything that runs. ---------------------------------------------------------------------------------------

alter table ops.run add column started_by text;
alter table ops.run alter column started_by set default session_user;
comment on column ops.run.started_by is 'The login.';
alter table raw.load_batch add column loaded_by text;
alter table raw.load_batch alter column loaded_by set default session_user;
comment on table raw.load_batch is
'One row per promotion or deletion, numbered in the order in which they took effect; append-only, but for what changed nothing (config.kept).';
comment on column raw.load_batch.loaded_by is 'The login; null for what was loaded before that was written down.';

create view ops.workflow_state as
with named as (
    select
        run.*,
        'locks.' || case when run.command in ('watch', 'backfill') then run.command else 'run' end as lock
    from ops.run as run
),

latest as (
    select distinct on (command)
        named.*,
        named.started_at = max(named.started_at) filter (where named.finished_at is null) over (partition by named.lock) as is_last_of_lock
    from named
    order by command, started_at desc
)

select
    latest.command as workflow,
    case
        when latest.outcome is not null then latest.outcome
        when latest.is_last_of_lock and exists (
            select from pg_locks as held
            where
                held.locktype = 'relation'
                and held.database = (select oid from pg_database where datname = current_database())
                and held.relation = (
                    select oid from pg_class
                    where relnamespace = 'locks'::regnamespace and relname = split_part(latest.lock, '.', 2)
                )
                and held.mode = 'ExclusiveLock'
                and held.granted
        ) then 'running'
        else 'killed'
    end as state,
    latest.run_id,
    latest.started_by,
    latest.started_at,
    latest.finished_at,
    step.step,
    step.attempt,
    coalesce(latest.message, step.message) as message,
    success.done_at as last_done_at,
    (
        select count(*) from ops.run as failed
        where
            failed.command = latest.command
            and failed.outcome = 'failed'
            and (success.done_at is null or failed.started_at > success.done_at)
    ) as failures
from latest
left join lateral (
    select step.step, step.attempt, step.message from ops.step as step
    where step.run_id = latest.run_id
    order by step.started_at desc
    limit 1
) as step on true
left join lateral (
    select max(done.finished_at) as done_at from ops.run as done
    where done.command = latest.command and done.outcome in ('done', 'done in part')
) as success on true;
comment on view ops.workflow_state is
'One row per workflow (pipeline, poll, run, watch, backfill): how it stands. running: its lock is held; killed: it is not, and its end was never recorded.';

create index run_command on ops.run (command, started_at);

create view ops.failing as
select 'workflow' as kind, workflow as subject, message, coalesce(last_done_at, started_at) as since
from ops.workflow_state where state in ('failed', 'killed')
union all
select 'model', node, message, failed_at from ops.refresh_failure
union all
select 'exchange', exchange, reason, failed_at from ops.circuit_breaker
union all
select 'incident', rule || ' ' || subject, message, seen_at from ops.incident where resolved_at is null and acknowledged_at is null;
comment on view ops.failing is 'One row per thing that fails now: since when, and why. A workflow fails since it was last done.';

create view ops.late as
select
    subscription.exchange,
    subscription.symbol,
    subscription.timeframe,
    upper(observed.observed) as known_until,
    extract(epoch from clock_timestamp() - upper(observed.observed)) as seconds
from config.subscription as subscription
left join raw.instrument as instrument
    on
        subscription.exchange = instrument.exchange
        and subscription.symbol = instrument.symbol
        and (subscription.symbol like '%:%') = (instrument.market_type <> 'spot')
left join raw.observed as observed
    on instrument.instrument_id = observed.instrument_id and subscription.timeframe = observed.timeframe
where subscription.is_active;
comment on view ops.late is
'One row per series that is subscribed to: until when its source has answered, and how long ago that is; null for one that never did.';

-- How much there is of what. -----------------------------------------------------------------------------------------------------

create function ops.sizes() returns table (relation text, bytes bigint, row_estimate bigint, dead_rows bigint)
language plpgsql stable as $$
declare
    chunked text := 'select null::oid as oid, null::bigint as bytes where false';
begin
    if ops.engine() <> 'postgres' then
        -- The columnstore's tables are no children of theirs, nor is what an aggregate keeps.
        chunked := $sql$
            select
                format('%I.%I', hypertable_schema, hypertable_name)::regclass::oid as oid,
                hypertable_size(format('%I.%I', hypertable_schema, hypertable_name)::regclass) as bytes
            from timescaledb_information.hypertables
            where hypertable_schema not like '\_timescaledb%'
            union all
            select
                format('%I.%I', view_schema, view_name)::regclass::oid,
                hypertable_size(format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass)
            from timescaledb_information.continuous_aggregates
        $sql$;
    end if;
    return query execute format($sql$
        with recursive chunked as (%s),

        part as (
            select class.oid as root, class.oid from pg_class as class
            inner join pg_namespace as namespace on class.relnamespace = namespace.oid
            where
                namespace.nspname in ('raw', 'config', 'ops', 'bars', 'features', 'signals', 'backtest', 'marts', 'lab')
                and (class.relkind in ('r', 'p') or class.oid in (select oid from chunked))
                and not class.relispartition
            union all
            select part.root, inherited.inhrelid from part inner join pg_inherits as inherited on part.oid = inherited.inhparent
        )

        select
            part.root::regclass::text,
            coalesce(min(chunked.bytes), sum(pg_total_relation_size(part.oid)))::bigint,
            sum(greatest(class.reltuples, 0))::bigint,
            sum(coalesce(pg_stat_get_dead_tuples(part.oid), 0))::bigint
        from part
        inner join pg_class as class on part.oid = class.oid
        left join chunked on part.root = chunked.oid
        group by part.root
    $sql$, chunked);
end $$;
comment on function ops.sizes() is
'One row per table of Titan''s schemas, its partitions, chunks and indexes included: bytes, and rows as the server estimates them.';

create function ops.measure(instant timestamptz default clock_timestamp()) returns integer language plpgsql as $$
declare
    measured integer;
    -- What is measured to a table is measured seldom: the sizes of thousands of files are asked for.
    is_hourly constant boolean := not exists (
        select from ops.metric
        where metric = 'database_bytes' and measured_at > instant - interval '59 minutes' and measured_at <= instant
    );
begin
    if exists (
        select from ops.metric
        where metric = 'connections' and measured_at > instant - interval '295 seconds' and measured_at <= instant
    ) or not pg_try_advisory_xact_lock(hashtext('titan'), hashtext('measure')) then
        return 0;
    end if;
    perform ops.make_month('ops.metric', instant);
    insert into ops.metric (measured_at, metric, subject, value)
    select instant, found.metric, found.subject, found.value
    from (
        select 'connections' as metric, '' as subject, count(*)::double precision as value
        from pg_stat_activity where backend_type = 'client backend'
        union all
        select 'transaction_seconds', '', coalesce(max(extract(epoch from instant - xact_start)), 0)
        from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        union all
        select 'wal_bytes', '', (pg_current_wal_lsn() - '0/0'::pg_lsn)::double precision where not pg_is_in_recovery()
        union all
        select 'late_seconds', late.exchange || ' ' || late.timeframe, max(late.seconds)
        from ops.late as late where late.seconds is not null group by late.exchange, late.timeframe
        union all
        select 'models_behind', '', count(*) from ops.pending
        union all
        select 'changes_kept', '', count(*) from ops.change
        union all
        select 'incidents', level.severity, count(incident.incident_id)
        from unnest(array['critical', 'warning', 'info']) as level (severity)
        left join ops.incident as incident on level.severity = incident.severity and incident.resolved_at is null
        group by level.severity
        union all
        select 'disk_free_bytes', place, free_bytes from ops.disk
        union all
        select 'relay_waiting', relay || ' ' || topic, waiting from ops.relay_waiting
        union all
        select 'database_bytes', '', pg_database_size(current_database()) where is_hourly
        union all
        select size.metric, sizes.relation, size.value
        from ops.sizes() as sizes
        cross join lateral (
            values ('table_bytes', sizes.bytes), ('table_rows', sizes.row_estimate), ('dead_rows', sizes.dead_rows)
        ) as size (metric, value)
        where is_hourly
    ) as found;
    get diagnostics measured = row_count;
    return measured;
end $$;
comment on function ops.measure(timestamptz) is
'Writes ops.metric, unless that was done within five minutes; what concerns each table once an hour. Returns how many values.';

create view ops.metric_now as
select metric.metric, metric.subject, metric.value, metric.measured_at
from ops.metric as metric
inner join (
    select metric.metric, max(metric.measured_at) as measured_at from ops.metric as metric
    where metric.measured_at > clock_timestamp() - interval '2 hours'
    group by metric.metric
) as newest on metric.metric = newest.metric and metric.measured_at = newest.measured_at;
comment on view ops.metric_now is 'One row per metric and subject: the newest value, of the last two hours.';

-- What was passed on, and what waits: events, alerts and spans. ----------------------------------------------------------------------

alter table config.topic add check (topic <> 'traces');
create view ops.relay_waiting as
select
    relay.relay,
    relay.topic,
    relay.told_at,
    case relay.topic
        when 'alerts' then (select count(*) from ops.alert as alert where alert.seq > relay.seq)
        when 'traces' then (
            select count(*) from ops.trace as trace where trace.written_in > relay.seq::text::xid8
        )
        else (select count(*) from ops.event as event where event.topic = relay.topic and event.seq > relay.seq)
    end as waiting
from ops.relay as relay;
comment on view ops.relay_waiting is 'One row per relay and topic: how many events, alerts or spans it has yet to pass on.';
comment on column ops.relay.seq is
'The last ops.change.seq, ops.alert.seq, or transaction of ops.trace, that it has passed on.';

-- Unless somebody has edited it.
update config.alert_rule set condition = $rule$
select relay || ' ' || topic, format('it passed something on last at %s: titan events relays', told_at)
from ops.relay_waiting
where told_at < ops.judged_at() - interval '15 minutes' and waiting > 0$rule$
where rule = 'relay_behind' and md5(condition) = 'd0f5bd2b3c8fbb4df2100b87ccc24893';

-- How long what is kept, and what becomes of it. ------------------------------------------------------------------------------------

create table config.kept (
    relation text primary key,
    rule text not null,
    kept interval check (kept >= interval '1 day'),
    is_by_age boolean not null default false,
    check (is_by_age or kept is null)
);
comment on table config.kept is
'One row per table that grows by itself: for how long its rows are kept. kept may be edited where is_by_age; null keeps them for good.';
insert into config.kept (relation, rule, kept, is_by_age) values
('raw.ohlcv', 'for good; candles of less than a day for as long as config.retention says', null, false),
('raw.ohlcv_revision', 'for good: what was known before', null, false),
('raw.observed', 'one row per series', null, false),
('raw.quarantine', 'for good: what was turned away', null, false),
('raw.adjustment', 'for good', null, false),
('raw.adjustment_revision', 'for good: what was known before', null, false),
('raw.instrument', 'one row per instrument', null, false),
('raw.listing', 'one row per change of a market', null, false),
('raw.load_batch', 'for good, where a candle came, changed or went; others by age', '30 days', true),
('ops.gate_result', 'for good, of files and of what was not met; others by age', '30 days', true),
('ops.alert', 'by age, once every relay has passed it on', '30 days', true),
('ops.incident', 'by age, once resolved', '90 days', true),
('ops.run', 'by age; the last of each command stays', '90 days', true),
('ops.step', 'with its run', null, false),
('ops.build', 'by age', '90 days', true),
('ops.trace', 'whole months by age', '30 days', true),
('ops.metric', 'whole months by age', '400 days', true),
('ops.reconciliation', 'by age; the last one stays', '400 days', true),
('ops.backup', 'by age; the last one stays', '400 days', true),
('ops.change', 'until every model and relay has read it', null, false),
('ops.progress', 'one row per model and parent', null, false),
('ops.dirty', 'empty between refreshes', null, false),
('ops.model', 'one row per model', null, false),
('ops.aggregate', 'one row per continuous aggregate', null, false),
('ops.refresh_failure', 'one row per model that fails', null, false),
('ops.project', 'one row', null, false),
('ops.migration', 'one row per migration', null, false),
('ops.horizon', 'one row per series', null, false),
('ops.exchange_delay', 'one row per exchange and timeframe', null, false),
('ops.circuit_breaker', 'one row per exchange that is away', null, false),
('ops.asked_again', 'one row per outage that was asked about again', null, false),
('ops.relay', 'one row per relay and topic', null, false),
('ops.disk', 'one row', null, false);

create function ops.prune(instant timestamptz default clock_timestamp())
returns table (relation text, pruned bigint) language plpgsql as $$
declare
    known config.kept;
    part record;
    patience constant text := current_setting('lock_timeout');
begin
    for known in select * from config.kept as every where every.kept is not null order by every.relation loop
        relation := known.relation;
        pruned := 0;
        case known.relation
            when 'ops.gate_result' then
                pruned := ops.prune_gate_results(known.kept + (clock_timestamp() - instant));
            when 'ops.alert' then
                pruned := ops.prune_alerts(known.kept + (clock_timestamp() - instant));
            when 'ops.incident' then
                pruned := ops.prune_incidents(known.kept + (clock_timestamp() - instant));
            when 'raw.load_batch' then
                -- No candle, no revision, no row in quarantine and no result of the gate is of such a batch.
                delete from raw.load_batch as batch
                where
                    batch.promoted_at < instant - known.kept
                    and batch.source in ('exchange', 'stream')
                    and not batch.is_stopped
                    and batch.rows_inserted = 0 and batch.rows_revised = 0 and batch.rows_deleted = 0 and batch.rows_quarantined = 0
                    and not exists (select from ops.gate_result as result where result.batch_id = batch.batch_id)
                    and not exists (select from raw.quarantine as turned_away where turned_away.batch_id = batch.batch_id);
                get diagnostics pruned = row_count;
            when 'ops.run' then
                with old as (
                    select run.run_id from ops.run as run
                    where
                        run.started_at < instant - known.kept
                        and exists (
                            select from ops.run as later
                            where later.command = run.command and later.started_at > run.started_at
                        )
                ),

                old_steps as (
                    delete from ops.step as step using old where step.run_id = old.run_id
                )

                delete from ops.run as run using old where run.run_id = old.run_id;
                get diagnostics pruned = row_count;
            when 'ops.build' then
                delete from ops.build as build where build.finished_at < instant - known.kept;
                get diagnostics pruned = row_count;
            when 'ops.reconciliation' then
                delete from ops.reconciliation as one
                where
                    one.reconciled_at < instant - known.kept
                    and exists (select from ops.reconciliation as later where later.reconciled_at > one.reconciled_at);
                get diagnostics pruned = row_count;
            when 'ops.backup' then
                delete from ops.backup as one
                where
                    one.finished_at < instant - known.kept
                    and exists (select from ops.backup as later where later.finished_at > one.finished_at);
                get diagnostics pruned = row_count;
            else
                for part in
                    select inhrelid::regclass as name from pg_inherits
                    inner join pg_class on inhrelid = pg_class.oid
                    where
                        inhparent = to_regclass(known.relation)
                        and relname ~ '_\d{4}_\d\d$'
                        and (to_date(right(relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC' < instant - known.kept
                loop
                    begin
                        -- Somebody may read it; then it goes an hour later.
                        perform set_config('lock_timeout', '500ms', true);
                        execute format('drop table %s', part.name);
                        pruned := pruned + 1;
                    exception when lock_not_available then
                        null;
                    end;
                    perform set_config('lock_timeout', patience, true);
                end loop;
        end case;
        return next;
    end loop;
end $$;
comment on function ops.prune(timestamptz) is
'Forgets what is older than config.kept says: rows, or of ops.trace and ops.metric whole months. Returns how many of each.';

create function ops.keep_house(instant timestamptz default clock_timestamp()) returns integer language plpgsql as $$
declare
    measured constant integer := ops.measure(instant);
begin
    -- As often as tables are measured: what is pruned is searched for in all of a table.
    if exists (select from ops.metric where metric = 'database_bytes' and measured_at = instant) then
        perform ops.prune();
    end if;
    return measured;
end $$;
comment on function ops.keep_house(timestamptz) is 'Measures (ops.measure), and once an hour forgets what is old (ops.prune); returns how many values were measured.';

create view ops.growth as
with measured as (
    select distinct on (metric.subject)
        metric.subject as relation, metric.value as bytes, metric.measured_at
    from ops.metric as metric
    where metric.metric = 'table_bytes' and metric.measured_at > clock_timestamp() - interval '7 days 1 hour'
    order by metric.subject, metric.measured_at
)

select
    sizes.relation,
    sizes.bytes,
    sizes.row_estimate,
    sizes.bytes - measured.bytes as grown_bytes,
    clock_timestamp() - measured.measured_at as grown_in,
    case when clock_timestamp() - measured.measured_at > interval '1 day' then
        ((sizes.bytes - measured.bytes) * (interval_seconds.a_year / extract(epoch from clock_timestamp() - measured.measured_at)))::bigint
    end as bytes_a_year,
    coalesce(kept.rule, case split_part(sizes.relation, '.', 1)
        when 'config' then 'for good: what people decide'
        when 'lab' then 'for good: runs and what they stood on'
        else 'as the model''s rows'
    end) as rule,
    kept.kept
from ops.sizes() as sizes
cross join (values (365.25 * 86400)) as interval_seconds (a_year)
left join measured on sizes.relation = measured.relation
left join config.kept as kept on sizes.relation = kept.relation;
comment on view ops.growth is
'One row per table: its size, what it grew by within a week (or since it was first measured), and what a year of that comes to; null within the first day.';
comment on column ops.growth.row_estimate is 'As the server estimates it.';
comment on column ops.growth.bytes_a_year is 'As if it grew on as it did; what is pruned by age stops growing once it is that old.';

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema ops to titan_reader;
        grant select on all tables in schema config to titan_reader;
    end if;
end $$;
