-- What processes of Titan keep each other out by, where no reader reaches: anybody may take an advisory lock, and keep it.
create schema locks;
comment on schema locks is
'Tables that are there to be locked, and empty; kept from readers, who could otherwise hold up loads, builds and runs.';
create table locks.run ();
create table locks.promotion ();
create table locks.feed ();
create table locks.swap ();
create table locks.node (node text primary key);
comment on table locks.run is 'Locked while a pipeline or poll is under way.';
comment on table locks.promotion is 'Locked by who writes candles, until they are committed.';
comment on table locks.feed is 'Locked by who publishes in ops.change, until that is committed.';
comment on table locks.swap is 'Locked by who replaces tables or views.';
comment on table locks.node is 'One row per model that was ever built. Who builds it locks its row; pruning the feed locks the table.';

create function ops.lock_node(node text) returns void language plpgsql as $$
begin
    loop
        perform from locks.node as known where known.node = lock_node.node for update;
        exit when found;
        insert into locks.node values (lock_node.node) on conflict do nothing;
    end loop;
end $$;
comment on function ops.lock_node(text) is 'Waits for who builds the model now, and keeps others from it until the transaction ends.';

-- Whoever edits config publishes by it, and needs no right to the schema; on a table of his own, nobody can have it called.
create or replace function ops.lock_feed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    lock table locks.feed in exclusive mode;
    return null;
end $$;
revoke execute on function ops.lock_feed() from public;

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
    -- A change that every consumer of its node has read is history. A node that nobody consumes keeps nothing: a new
    -- consumer starts from the whole table anyway.
    delete from ops.change as change
    where not exists (
        select from ops.progress as progress
        where progress.parent = change.node and progress.seq < change.seq
    );
    get diagnostics pruned = row_count;
    return pruned;
end $$;

create or replace function ops.told_holder(target text) returns text language sql stable as $$
    with wanted as (
        select to_regclass(target)::oid as oid, target as name
        union all
        select view_oid, view_name from ops.views_above(to_regclass(target))
        union all
        select name::regclass::oid, name from unnest(array['locks.swap', 'locks.feed']) as name
    )
    select coalesce(
        (
            select format('%s has been locked by process %s of %s', wanted.name, activity.pid, coalesce(activity.usesysid::regrole::text, 'the server'))
            from wanted
            join pg_locks as held on wanted.oid = held.relation and held.granted
            join pg_stat_activity as activity on held.pid = activity.pid
            where held.pid <> pg_backend_pid()
            order by activity.backend_start limit 1
        ),
        'another build or load is under way'
    )
$$;
create or replace function ops.take_over(target text, statement text) returns text[] language plpgsql set lock_timeout = 0 as $$
declare
    patience constant interval := coalesce(nullif(current_setting('titan.patience', true), ''), '15 minutes');
    began constant timestamptz := clock_timestamp();
    longest interval;
    answer text[];
begin
    loop
        -- Nobody stands behind us for longer than a tenth of what we have waited, nor than five seconds.
        longest := greatest(interval '0.1 seconds', least(interval '5 seconds', (clock_timestamp() - began) / 10));
        begin
            if exists (select from pg_class where oid = to_regclass(target) and relkind = 'r') then
                -- Readers do not notice this lock, and an autovacuum gives way to who has waited for deadlock_timeout.
                perform ops.wait_for_locks_at_most(current_setting('deadlock_timeout')::interval + interval '1 second');
                execute format('lock table %s in share update exclusive mode', target);
            end if;
            perform ops.wait_for_locks_at_most(longest);
            lock table locks.swap in exclusive mode;
            -- What takes over is published next, and must not wait for that either.
            lock table locks.feed in exclusive mode;
            execute statement into answer;
            return answer;
        exception when lock_not_available or deadlock_detected then
            if clock_timestamp() - began > patience then
                raise exception '% cannot be replaced: %', target, ops.told_holder(target)
                using errcode = 'lock_not_available', hint = 'End that session or wait for it, then build again.';
            end if;
        end;
        perform pg_sleep(extract(epoch from longest) * (0.5 + random()));
    end loop;
end $$;
-- Limits by default, for every login but the owner's: with them no reader keeps a build from replacing a table for longer than that
-- waits (fifteen minutes). A session may set others for itself.
do $$
begin
    execute format('alter database %I set statement_timeout = ''10min''', current_database());
    execute format('alter database %I set idle_in_transaction_session_timeout = ''4min''', current_database());
    execute format('alter role current_user in database %I set statement_timeout = 0', current_database());
    execute format('alter role current_user in database %I set idle_in_transaction_session_timeout = 0', current_database());
exception when insufficient_privilege then
    raise notice 'no right to set limits for the sessions of this database: its owner can, by alter database … set';
end $$;

-- A large object stays when its session has ended, and anybody may make one; only a superuser can take that right away.
do $$
declare
    maker regprocedure;
begin
    if (select rolsuper from pg_roles where rolname = current_user) then
        for maker in
            select oid::regprocedure from pg_proc
            where pronamespace = 'pg_catalog'::regnamespace and proname in ('lo_create', 'lo_creat', 'lo_from_bytea')
        loop
            execute format('revoke execute on function %s from public', maker);
        end loop;
    end if;
end $$;
