-- What became new, told to whoever listens (NOTIFY), and kept for whoever passes it on (a relay) until he has.
create table config.topic (
    topic text not null check (topic ~ '^[a-z_]+$' and topic <> 'alerts'),
    node text not null,
    primary key (topic, node)
);
comment on table config.topic is
'What is told under which name: changes of the table (views are told by their tables), on the channel titan_<topic> and by titan events. alerts are of ops.alert.';
insert into config.topic values
('candles', 'bars.candle'), ('candles', 'bars.rollup_stored'), ('candles', 'bars.rollup'), ('candles', 'bars.daily'),
('candles', 'bars.multi_day'), ('features', 'features.bar_features'), ('signals', 'signals.fct_signals');

create table ops.relay (
    relay text not null,
    topic text not null,
    seq bigint not null,
    told_at timestamptz not null default clock_timestamp(),
    primary key (relay, topic)
);
comment on table ops.relay is
'How far each relay has passed on each topic: changes that it has not are kept, so drop its rows when it is no more (titan events forget).';
comment on column ops.relay.seq is 'The last ops.change.seq, or ops.alert.seq, that it has passed on.';

create table ops.alert (
    seq bigint generated always as identity primary key,
    kind text not null check (kind in ('gate', 'refresh', 'exchange', 'market')),
    subject text not null,
    message text not null,
    raised_at timestamptz not null default clock_timestamp()
);
comment on table ops.alert is
'One row per thing that somebody should look at: a batch that the gate stopped, a model that failed, an exchange that went away, a market that it lists otherwise.';

-- The same as ops.change, as told: one row per range, with the names that people know.
create view ops.event as
select
    topic.topic,
    change.seq,
    change.node,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    change.timeframe,
    change.first_at,
    change.last_at,
    change.published_at
from ops.change as change
join config.topic as topic on change.node = topic.node
left join raw.instrument as instrument on change.instrument_id = instrument.instrument_id;
comment on view ops.event is
'One row per topic and range that became new, for as long as somebody has yet to read it. Nulls stand for every series, timeframe or time.';

create function ops.event_message(event ops.event) returns jsonb language sql immutable as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'topic', event.topic,
        'change', event.seq,
        'node', event.node,
        'exchange', event.exchange,
        'market', event.market_type,
        'symbol', event.symbol,
        'timeframe', event.timeframe,
        'from', case when isfinite(event.first_at) then event.first_at end,
        'to', case when isfinite(event.last_at) then event.last_at end
    ))
$$;
comment on function ops.event_message(ops.event) is 'What is told of an event. What is missing stands for all: every series, every timeframe, any time.';

-- Whoever is notified of a thousand ranges asks for all of them at once as well.
create function ops.tell() returns trigger language plpgsql as $$
begin
    perform
        pg_notify('titan_' || told.topic, case
            when told.number <= 1000 then told.message
            else jsonb_build_object('topic', told.topic, 'change', told.last_seq, 'node', told.node)
        end::text)
    from (
        select
            event.topic,
            event.node,
            ops.event_message(event) as message,
            count(*) over (partition by event.topic) as number,
            max(event.seq) over (partition by event.topic) as last_seq
        from ops.event as event
        where event.seq in (select added.seq from added)
    ) as told;
    return null;
end $$;
create trigger tell after insert on ops.change referencing new table as added for each statement execute function ops.tell();

create function ops.tell_alert() returns trigger language plpgsql as $$
begin
    perform pg_notify('titan_alerts', jsonb_build_object(
        'topic', 'alerts', 'alert', new.seq, 'kind', new.kind, 'subject', new.subject, 'message', left(new.message, 1000)
    )::text);
    return null;
end $$;
create trigger tell after insert on ops.alert for each row execute function ops.tell_alert();

create function ops.alert_of_gate() returns trigger language plpgsql as $$
begin
    insert into ops.alert (kind, subject, message)
    select 'gate', load_batch.origin, format('batch %s stopped: %s', new.batch_id, (
        select string_agg(result ->> 'expectation', ', ')
        from jsonb_array_elements(new.results) as result
        where not (result ->> 'is_met')::boolean and result ->> 'severity' <> 'info'
    ))
    from raw.load_batch as load_batch
    where load_batch.batch_id = new.batch_id;
    return null;
end $$;
create trigger alert after insert on ops.gate_result
for each row when (new.verdict = 'stopped') execute function ops.alert_of_gate();

create function ops.alert_of_refresh() returns trigger language plpgsql as $$
begin
    insert into ops.alert (kind, subject, message) values ('refresh', new.node, new.message);
    return null;
end $$;
create trigger alert after insert on ops.refresh_failure for each row execute function ops.alert_of_refresh();

create function ops.alert_of_exchange() returns trigger language plpgsql as $$
begin
    insert into ops.alert (kind, subject, message) values ('exchange', new.exchange, new.reason);
    return null;
end $$;
create trigger alert after insert on ops.circuit_breaker for each row execute function ops.alert_of_exchange();

create function ops.prune_alerts(kept interval default '30 days') returns bigint language sql as $$
    with pruned as (
        delete from ops.alert as alert
        where
            alert.raised_at < clock_timestamp() - kept
            and not exists (select from ops.relay as relay where relay.topic = 'alerts' and relay.seq < alert.seq)
        returning 1
    )
    select count(*) from pruned
$$;
comment on function ops.prune_alerts(interval) is 'Forget alerts that are so old, and were passed on by every relay; returns how many.';

create or replace function ops.prune_changes() returns bigint language plpgsql as $$
declare
    pruned bigint;
begin
    -- A model that is being built for the first time has read its parents and not said so yet. Whoever builds has locked
    -- a row of locks.node, so nothing is pruned while one is under way.
    begin
        lock table locks.node in exclusive mode nowait;
    exception when lock_not_available then
        return 0;
    end;
    -- A change that every consumer of its node has read, and every relay of its topic passed on, is history. A node that nobody
    -- consumes keeps nothing: a new consumer starts from the whole table anyway.
    delete from ops.change as change
    where
        not exists (select from ops.progress as progress where progress.parent = change.node and progress.seq < change.seq)
        and not exists (
            select from ops.relay as relay
            inner join config.topic as topic on relay.topic = topic.topic
            where topic.node = change.node and relay.seq < change.seq
        );
    get diagnostics pruned = row_count;
    return pruned;
end $$;

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema ops to titan_reader;
        grant select on all tables in schema config to titan_reader;
    end if;
end $$;
