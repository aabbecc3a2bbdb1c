-- What somebody should look at: rules say when, an incident is one of them for as long as it lasts, an alert is what was told.
create table config.alert_rule (
    rule text primary key check (rule ~ '^[a-z_]+$'),
    kind text not null check (
        kind in ('gate', 'refresh', 'exchange', 'market', 'run', 'data', 'server', 'strategy', 'rule')
    ),
    severity text not null default 'warning' check (severity in ('info', 'warning', 'critical')),
    condition text not null,
    requires text,
    told_after interval not null default '0' check (told_after >= interval '0'),
    repeated_after interval check (repeated_after > interval '0'),
    escalated_after integer check (escalated_after > 0),
    is_active boolean not null default true,
    description text not null
);
comment on table config.alert_rule is
'One row per rule: a query of what is wrong now, and how that is told. Rows of your own are welcome; titan alert list shows what they find.';
comment on column config.alert_rule.condition is
'A query of subject and message, one row for each thing that is wrong now; ops.judged_at() is the present.';
comment on column config.alert_rule.requires is 'A relation without which the rule says nothing: one that is not built yet.';
comment on column config.alert_rule.told_after is 'How long it has to last until it is told.';
comment on column config.alert_rule.repeated_after is 'Told again so long after it was told last, unless somebody acknowledged it; null: told once.';
comment on column config.alert_rule.escalated_after is 'From so many tellings on it is critical; null: never.';

create table ops.incident (
    incident_id bigint generated always as identity primary key,
    rule text not null,
    subject text not null,
    severity text not null,
    message text not null,
    seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    told_at timestamptz,
    times_told integer not null default 0,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note text,
    resolved_at timestamptz
);
create unique index incident_open on ops.incident (rule, subject) where resolved_at is null;
create index incident_resolved on ops.incident (resolved_at);
comment on table ops.incident is
'One row per thing that was wrong and the stretch of time in which it was: found by a rule, told as alerts, resolved by itself once the rule finds it no longer.';

create table config.alert_silence (
    silence_id bigint generated always as identity primary key,
    rule text,
    subject text,
    until_at timestamptz not null,
    reason text not null,
    made_by text not null default session_user,
    made_at timestamptz not null default clock_timestamp()
);
comment on table config.alert_silence is
'One row per agreement to tell nothing for a while: of a rule and of subjects like a pattern (%), null for all. Incidents are found nevertheless.';

alter table ops.alert
    drop constraint alert_kind_check,
    add column incident_id bigint,
    add column rule text,
    add column severity text not null default 'warning' check (severity in ('info', 'warning', 'critical')),
    add column state text not null default 'raised' check (state in ('raised', 'repeated', 'escalated', 'resolved'));
comment on table ops.alert is
'One row per telling: that something is wrong, still is, has become critical, or is resolved. What happens once and does not last has no incident.';

create function ops.judged_at() returns timestamptz language sql stable as $$
    select coalesce(nullif(current_setting('titan.judged_at', true), '')::timestamptz, clock_timestamp())
$$;
comment on function ops.judged_at() is 'The instant as of which rules are judged: the present.';

create or replace function ops.tell_alert() returns trigger language plpgsql as $$
begin
    perform pg_notify('titan_alerts', ops.alert_message(new)::text);
    return null;
end $$;

create function ops.alert_message(alert ops.alert) returns jsonb language sql immutable as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'topic', 'alerts', 'alert', alert.seq, 'kind', alert.kind, 'rule', alert.rule, 'severity', alert.severity,
        'state', alert.state, 'incident', alert.incident_id, 'subject', alert.subject,
        'message', left(alert.message, 1000), 'at', alert.raised_at
    ))
$$;
comment on function ops.alert_message(ops.alert) is 'What is told of an alert.';

create function ops.tell_incident(incident ops.incident, told_state text, instant timestamptz) returns void
language sql as $$
    insert into ops.alert (kind, subject, message, raised_at, incident_id, rule, severity, state)
    select
        coalesce((select kind from config.alert_rule as known where known.rule = incident.rule), 'rule'),
        incident.subject, incident.message, instant, incident.incident_id, incident.rule, incident.severity, told_state
$$;

create function ops.see_incident(
    rule_name text, subject_text text, message_text text, instant timestamptz default ops.judged_at()
) returns text language plpgsql as $$
declare
    known config.alert_rule;
    one ops.incident;
    told_state text;
begin
    select * into known from config.alert_rule where rule = rule_name and is_active;
    if not found then
        return null;
    end if;
    insert into ops.incident as standing (rule, subject, severity, message, seen_at, last_seen_at)
    values (rule_name, left(subject_text, 500), known.severity, left(message_text, 2000), instant, instant)
    on conflict (rule, subject) where resolved_at is null do update
    set last_seen_at = greatest(standing.last_seen_at, excluded.last_seen_at), message = excluded.message
    returning * into one;

    if one.told_at is null then
        told_state := case when instant >= one.seen_at + known.told_after then 'raised' end;
    elsif
        one.acknowledged_at is null and known.repeated_after is not null
        and instant >= one.told_at + known.repeated_after
    then
        told_state := 'repeated';
    end if;
    if told_state is null or exists (
        select from config.alert_silence as silence
        where
            silence.until_at > instant
            and coalesce(silence.rule, rule_name) = rule_name
            and one.subject like coalesce(silence.subject, '%')
    ) then
        return null;
    end if;
    one.times_told := one.times_told + 1;
    if one.severity <> 'critical' and one.times_told >= known.escalated_after then
        one.severity := 'critical';
        told_state := 'escalated';
    end if;
    update ops.incident as standing
    set told_at = instant, times_told = one.times_told, severity = one.severity
    where standing.incident_id = one.incident_id;
    perform ops.tell_incident(one, told_state, instant);
    return told_state;
end $$;
comment on function ops.see_incident(text, text, text, timestamptz) is
'Takes note that a rule found something wrong, and tells it if it is time to; returns how (raised, repeated, escalated) or null.';

create function ops.resolve_incidents(rule_name text, still text[], instant timestamptz) returns integer language plpgsql as $$
declare
    one ops.incident;
    resolved integer := 0;
begin
    for one in
        update ops.incident as standing set resolved_at = instant
        where rule = rule_name and resolved_at is null and subject <> all (still)
        returning *
    loop
        resolved := resolved + 1;
        if one.times_told > 0 then
            perform ops.tell_incident(one, 'resolved', instant);
        end if;
    end loop;
    return resolved;
end $$;

create function ops.judge(instant timestamptz default clock_timestamp()) returns integer language plpgsql as $$
declare
    known config.alert_rule;
    found_subject text;
    found_message text;
    still text[];
    failed text[] := '{}';
    told bigint := (select coalesce(max(seq), 0) from ops.alert);
begin
    -- One judges at a time; another one finds the same.
    if not pg_try_advisory_xact_lock(hashtext('titan'), hashtext('judge')) then
        return 0;
    end if;
    perform set_config('titan.judged_at', instant::text, true);
    for known in select * from config.alert_rule order by rule loop
        still := '{}';
        if known.rule = 'rule_failed' then
            continue;
        end if;
        if known.is_active and (known.requires is null or to_regclass(known.requires) is not null) then
            begin
                for found_subject, found_message in
                    execute format('select subject::text, message::text from (%s) as found (subject, message)', known.condition)
                loop
                    still := still || left(found_subject, 500);
                    perform ops.see_incident(known.rule, found_subject, found_message, instant);
                end loop;
            exception when others then
                -- What it found before stands: nothing is known of it.
                failed := failed || known.rule;
                perform ops.see_incident('rule_failed', known.rule, sqlerrm, instant);
                continue;
            end;
        end if;
        perform ops.resolve_incidents(known.rule, still, instant);
    end loop;
    perform ops.resolve_incidents('rule_failed', failed, instant);
    update ops.incident set resolved_at = instant
    where resolved_at is null and not exists (select from config.alert_rule as rule where rule.rule = incident.rule);
    perform set_config('titan.judged_at', '', true);
    return (select count(*) from ops.alert where seq > told);
end $$;
comment on function ops.judge(timestamptz) is
'Judges every rule: finds what is wrong, tells what is to be told, resolves what is over. Returns how many alerts that made. A rule that fails is an incident itself and stops no other.';

-- What is known at the instant is told then; the rules find the same, and when it is over.
create or replace function ops.alert_of_gate() returns trigger language plpgsql as $$
begin
    perform ops.see_incident('gate_stopped', ops.origin_of(load_batch.origin), format('batch %s stopped: %s', new.batch_id, (
        select string_agg(result ->> 'expectation', ', ')
        from jsonb_array_elements(new.results) as result
        where not (result ->> 'is_met')::boolean and result ->> 'severity' <> 'info'
    )))
    from raw.load_batch as load_batch
    where load_batch.batch_id = new.batch_id;
    return null;
end $$;

create function ops.origin_of(origin text) returns text language sql immutable as $$
    select regexp_replace(origin, ' (since .*|stream)$', '')
$$;
comment on function ops.origin_of(text) is 'Where a batch came from, whatever part of it was asked for: a file, or an exchange''s series.';

create or replace function ops.alert_of_refresh() returns trigger language plpgsql as $$
begin
    perform ops.see_incident('refresh_failed', new.node, new.message);
    return null;
end $$;

create or replace function ops.alert_of_exchange() returns trigger language plpgsql as $$
begin
    perform ops.see_incident('exchange_away', new.exchange, new.reason);
    return null;
end $$;

create function ops.prune_incidents(kept interval default '90 days') returns bigint language sql as $$
    with pruned as (
        delete from ops.incident where resolved_at < clock_timestamp() - kept
        returning 1
    )
    select count(*) from pruned
$$;
comment on function ops.prune_incidents(interval) is 'Forget what was resolved so long ago; returns how many.';

create table ops.disk (
    place text primary key,
    free_bytes bigint not null,
    total_bytes bigint not null,
    measured_at timestamptz not null default clock_timestamp()
);
comment on table ops.disk is 'How much room there is where the data lies: measured by whoever judges on the machine of an embedded server.';

create table ops.reconciliation (
    reconciled_at timestamptz primary key default clock_timestamp(),
    compared bigint not null,
    differing bigint not null,
    example text
);
comment on table ops.reconciliation is 'One row per titan reconcile of everything: how many bars were compared with raw candles, and how many differed.';

insert into config.alert_rule (
    rule, kind, severity, told_after, repeated_after, escalated_after, requires, description, condition
) values
(
    'gate_stopped', 'gate', 'critical', '0', null, null, null,
    'A batch that the gate stopped, until one of the same file or series passes; for a week.',
    $rule$
select distinct on (ops.origin_of(stopped.origin))
    ops.origin_of(stopped.origin), format('batch %s stopped: titan gate show %s', stopped.batch_id, stopped.batch_id)
from raw.load_batch as stopped
where
    stopped.is_stopped
    and stopped.promoted_at > ops.judged_at() - interval '7 days'
    and not exists (
        select from raw.load_batch as later
        where
            later.batch_id > stopped.batch_id and not later.is_stopped
            and ops.origin_of(later.origin) = ops.origin_of(stopped.origin)
    )
order by ops.origin_of(stopped.origin), stopped.batch_id desc$rule$
),
(
    'refresh_failed', 'refresh', 'critical', '0', '6 hours', null, null,
    'A model whose refresh failed, until it succeeds.',
    'select node, message from ops.refresh_failure'
),
(
    'refresh_behind', 'refresh', 'warning', '15 minutes', '6 hours', 3, null,
    'Models that have been behind, or owed a build by dbt, for a quarter of an hour.',
    $rule$
select 'models', format('%s models are behind, %s among them: titan refresh, titan status', count(*), min(node))
from ops.pending
where failures is null
having count(*) > 0$rule$
),
(
    'run_failed', 'run', 'critical', '0', '6 hours', null, null,
    'The last run of a command failed.',
    $rule$
select last_run.command, last_run.message
from (
    select distinct on (command) command, outcome, message from ops.run
    where finished_at is not null
    order by command, started_at desc
) as last_run
where last_run.outcome = 'failed'$rule$
),
(
    'exchange_away', 'exchange', 'warning', '0', '6 hours', 3, null,
    'An exchange that does not answer, or asked to be left alone.',
    'select exchange, reason from ops.circuit_breaker'
),
(
    'series_stale', 'data', 'warning', '0', '6 hours', 3, 'bars.dim_timeframe',
    'A series of config.subscription whose source has not answered for five periods, and a quarter of an hour at least.',
    $rule$
select
    concat_ws(' ', subscription.exchange, subscription.symbol, subscription.timeframe),
    format('nothing is known since %s', to_char(upper(observed.observed) at time zone 'UTC', 'YYYY-MM-DD HH24:MI'))
from config.subscription as subscription
inner join raw.instrument as instrument
    on
        subscription.exchange = instrument.exchange
        and subscription.symbol = instrument.symbol
        and (subscription.symbol like '%:%') = (instrument.market_type <> 'spot')
inner join bars.dim_timeframe as timeframe on subscription.timeframe = timeframe.timeframe
inner join raw.observed as observed
    on instrument.instrument_id = observed.instrument_id and subscription.timeframe = observed.timeframe
where
    subscription.is_active
    and upper(observed.observed) + greatest(5 * make_interval(secs => timeframe.duration_seconds), interval '15 minutes')
    < ops.judged_at()$rule$
),
(
    'gap_found', 'data', 'warning', '0', null, null, 'bars.gap',
    'Candles that an exchange did not have although it was traded, within the last day.',
    $rule$
select
    concat_ws(' ', instrument.exchange, instrument.symbol, gap.timeframe, 'from',
        to_char(gap.gap_opened_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')),
    format('%s candles are missing until %s', gap.missing_count,
        to_char(gap.gap_closed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'))
from bars.gap as gap
inner join raw.instrument as instrument on gap.instrument_id = instrument.instrument_id
where
    gap.gap_kind = 'outage'
    and gap.timeframe = instrument.base_timeframe
    and gap.closed_at > ops.judged_at() - interval '1 day'$rule$
),
(
    'rows_quarantined', 'data', 'warning', '0', null, null, null,
    'More than ten rows of a series were turned away within the last day.',
    $rule$
select
    concat_ws(' ', exchange, symbol, timeframe),
    format('%s rows of the last day are in quarantine, %s: titan quarantine list', count(*), min(reason))
from raw.quarantine
where quarantined_at > ops.judged_at() - interval '1 day'
group by exchange, symbol, timeframe
having count(*) > 10$rule$
),
(
    'step_slow', 'run', 'info', '0', null, null, null,
    'The last step of a kind took more than twice its median of a week, and ten seconds at least.',
    $rule$
select
    step.command_step,
    format('it took %s s, and %s s in the middle of a week', round(step.seconds[1]::numeric, 1), round(middle.seconds::numeric, 1))
from (
    select
        run.command || ' ' || step.step as command_step,
        array_agg(extract(epoch from step.finished_at - step.started_at) order by step.started_at desc) as seconds
    from ops.step as step
    inner join ops.run as run on step.run_id = run.run_id
    where step.outcome = 'done' and step.started_at > ops.judged_at() - interval '7 days'
    group by 1
) as step
cross join lateral (
    select percentile_cont(0.5) within group (order by one) as seconds from unnest(step.seconds) as one
) as middle
where cardinality(step.seconds) > 5 and step.seconds[1] > greatest(2 * middle.seconds, 10)$rule$
),
(
    'reconcile_differs', 'data', 'critical', '0', '1 day', null, null,
    'Stored bars that differ from what raw candles make, by the last titan reconcile of everything.',
    $rule$
select 'bars', format('%s of %s bars differ, e.g. %s', differing, compared, example)
from (select * from ops.reconciliation order by reconciled_at desc limit 1) as last_one
where differing > 0$rule$
),
(
    'disk_low', 'server', 'critical', '0', '1 hour', null, null,
    'Less than a twentieth of the disk is free where the data lies, or less than 2 GB.',
    $rule$
select place, format('%s of %s are free', pg_size_pretty(free_bytes), pg_size_pretty(total_bytes))
from ops.disk
where free_bytes < greatest(total_bytes / 20, 2 * 1024 ^ 3)$rule$
),
(
    'connections_short', 'server', 'warning', '1 minute', '1 hour', null, null,
    'Nine tenths of the connections that the server allows are taken.',
    $rule$
select 'server', format('%s of %s connections are taken', taken, allowed)
from (
    select count(*) as taken, current_setting('max_connections')::integer as allowed
    from pg_stat_activity where backend_type = 'client backend'
) as connections
where taken >= 0.9 * allowed$rule$
),
(
    'transaction_old', 'server', 'warning', '0', '6 hours', null, null,
    'A transaction that has been open for an hour: nothing that was deleted since can be cleared away.',
    $rule$
select coalesce(nullif(application_name, ''), usename) || ' ' || pid, format('it has been open since %s', xact_start)
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start < ops.judged_at() - interval '1 hour'$rule$
),
(
    'relay_behind', 'server', 'warning', '15 minutes', '6 hours', null, null,
    'A relay that has passed nothing on although there is something, for a quarter of an hour: it may not run.',
    $rule$
select relay.relay || ' ' || relay.topic, format('it passed something on last at %s: titan events relays', relay.told_at)
from ops.relay as relay
where
    relay.told_at < ops.judged_at() - interval '15 minutes'
    and case when relay.topic = 'alerts'
        then exists (select from ops.alert as alert where alert.seq > relay.seq)
        else exists (select from ops.event as event where event.topic = relay.topic and event.seq > relay.seq)
    end$rule$
),
(
    'drawdown_deep', 'strategy', 'critical', '0', '1 day', null, 'backtest.fct_strategy_equity',
    'A signal of an active strategy stands a fifth below its peak, with its costs.',
    $rule$
select
    concat_ws(' ', signal.signal, instrument.exchange, instrument.symbol, signal.timeframe),
    format('it stands %s %% below its peak', round((-100 * latest.realistic_drawdown)::numeric, 1))
from signals.dim_signal as signal
inner join lab.strategy_status as strategy on signal.params_hash = strategy.params_hash and strategy.status = 'active'
cross join raw.instrument as instrument
cross join lateral (
    select equity.realistic_drawdown from backtest.fct_strategy_equity as equity
    where
        equity.signal = signal.signal
        and equity.instrument_id = instrument.instrument_id
        and equity.timeframe = signal.timeframe
    order by equity.closed_at desc
    limit 1
) as latest
where latest.realistic_drawdown < -0.2$rule$
),
(
    'rule_failed', 'rule', 'warning', '0', '1 day', null, null,
    'A rule whose condition is no query, or fails.',
    'select null, null where false'
);

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema ops to titan_reader;
        grant select on all tables in schema config to titan_reader;
    end if;
end $$;
