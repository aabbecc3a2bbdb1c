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

-- How a rebuilt table or a redefined view takes over its name beside readers and other builds.
--
-- A reader locks a view, then what the view reads, down to the tables; a transaction of several statements locks in any order. So
-- whoever takes over a name locks views before what they read, and waits for no lock longer than a moment while it holds one that
-- readers want: then it gives everything back, lets them pass, and tries again.

create function ops.views_above(relation regclass)
returns table (view_oid oid, view_name text, depth integer, is_direct boolean) language sql stable as $$
    with recursive above as (
        select relation::oid as oid, 0 as depth
        union
        select view.oid, above.depth + 1
        from above
        join pg_depend as depend on depend.refclassid = 'pg_class'::regclass and depend.refobjid = above.oid
        join pg_rewrite as rewrite on depend.classid = 'pg_rewrite'::regclass and depend.objid = rewrite.oid
        join pg_class as view on rewrite.ev_class = view.oid and view.relkind = 'v' and view.oid <> above.oid
        join pg_namespace as namespace on view.relnamespace = namespace.oid and namespace.nspname not like '\_timescaledb%'
    )
    select above.oid, format('%I.%I', namespace.nspname, class.relname), max(above.depth), bool_or(above.depth = 1)
    from above
    join pg_class as class on above.oid = class.oid
    join pg_namespace as namespace on class.relnamespace = namespace.oid
    where above.depth > 0
    group by above.oid, namespace.nspname, class.relname
$$;
comment on function ops.views_above(regclass) is
'The views that read a relation, directly or through others; the greater the depth, the further out.';

create function ops.lock_view(view_oid oid) returns void language plpgsql as $$
declare
    owner_oid oid := (select relowner from pg_class where oid = lock_view.view_oid);
begin
    -- `lock table` would take everything that the view reads along. One of a role that is not ours can only be left as it is.
    if pg_has_role(owner_oid, 'usage') then
        execute format('alter view %s owner to %I', view_oid::regclass, pg_get_userbyid(owner_oid));
    end if;
end $$;
comment on function ops.lock_view(oid) is 'Keeps readers from a view until the transaction ends; changes nothing.';

create function ops.lock_views_over(relation regclass) returns oid[] language plpgsql as $$
declare
    view_oid oid;
    locked oid[] := '{}';
begin
    for view_oid in select above.view_oid from ops.views_above(relation) as above where is_direct order by depth desc loop
        perform ops.lock_view(view_oid);
        locked := locked || view_oid;
    end loop;
    return locked;
end $$;
comment on function ops.lock_views_over(regclass) is 'Locks the views that read a relation by its name, outermost first; returns them.';

create function ops.wait_for_locks_at_most(longest interval) returns void language sql as $$
    select set_config('lock_timeout', greatest(1, extract(epoch from longest) * 1000)::integer::text, true)
$$;

create function ops.told_holder(target text) returns text language sql stable as $$
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
comment on function ops.told_holder(text) is 'Who keeps a relation, or a view over it, from being replaced.';

create function ops.take_over(target text, statement text) returns text[] language plpgsql set lock_timeout = 0 as $$
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
comment on function ops.take_over(text, text) is
'Executes a statement that replaces `target`, again and again until it gets its locks (titan.patience, 15 minutes if not set). Raises '
'lock_not_available, and names who is in the way, where it does not.';

create or replace function ops.drop_retired() returns text[] language plpgsql as $$
declare
    retired record;
    dropped text[] := '{}';
begin
    for retired in
        select format('%I.%I', namespace.nspname, class.relname) as name
        from pg_class as class
        join pg_namespace as namespace on class.relnamespace = namespace.oid
        where class.relkind = 'r' and class.relname like '%\_\_retired\_%'
            and not exists (
                select from pg_depend as depend
                join pg_rewrite as rewrite on depend.classid = 'pg_rewrite'::regclass and depend.objid = rewrite.oid
                where depend.refclassid = 'pg_class'::regclass and depend.refobjid = class.oid
            )
    loop
        begin
            execute format('lock table %s in access exclusive mode nowait', retired.name);
            execute format('drop table %s', retired.name);
            dropped := dropped || retired.name;
        exception when lock_not_available then
            null;  -- somebody reads it: the next one to come by drops it
        end;
    end loop;
    return dropped;
end $$;

create function ops.swap_table_now(schema_name text, table_name text, new_name text)
returns text[] language plpgsql as $$
declare
    target text := format('%I.%I', schema_name, table_name);
    retired_name text := left(table_name, 40) || '__retired_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS');
    primary_key text;
    locked oid[];
    view_names text[];
    definitions text[];
    left_behind text[] := '{}';
begin
    if to_regclass(target) is not null then
        locked := ops.lock_views_over(target::regclass);
        execute format('lock table %s in access exclusive mode', target);
        if exists (select from ops.dependent_views(target::regclass) where view_oid <> all (locked)) then
            raise exception '% got another view meanwhile', target using errcode = 'lock_not_available';
        end if;
        select array_agg(view_name), array_agg(definition) into view_names, definitions
        from ops.dependent_views(target::regclass);
        select conname into primary_key
        from pg_constraint where conrelid = target::regclass and contype = 'p';
        if primary_key is not null then
            execute format('alter table %s rename constraint %I to %I', target, primary_key, retired_name || '_key');
        end if;
        execute format('alter table %s rename to %I', target, retired_name);
    end if;

    execute format('alter table %I.%I rename to %I', schema_name, new_name, table_name);
    select conname into primary_key
    from pg_constraint where conrelid = target::regclass and contype = 'p';
    if primary_key is not null and primary_key <> table_name || '_pkey' then
        execute format('alter table %s rename constraint %I to %I', target, primary_key, table_name || '_pkey');
    end if;

    for number in 1 .. coalesce(cardinality(view_names), 0) loop
        begin
            execute format('create or replace view %s as %s', view_names[number], definitions[number]);
        exception
            when undefined_column or invalid_table_definition or datatype_mismatch or undefined_function
                or insufficient_privilege then
                left_behind := left_behind || view_names[number];
        end;
    end loop;
    perform ops.drop_retired();
    return left_behind;
end $$;
comment on function ops.swap_table_now(text, text, text) is 'One attempt of ops.swap_table.';

create or replace function ops.swap_table(schema_name text, table_name text, new_name text) returns text[] language sql as $$
    select ops.take_over(
        format('%I.%I', schema_name, table_name),
        format('select ops.swap_table_now(%L, %L, %L)', schema_name, table_name, new_name)
    )
$$;
comment on function ops.swap_table(text, text, text) is
'Gives new_name the name and the views of table_name. Returns the views that still read the old table: they cannot read the new columns, '
'or are not ours to redefine.';

create function ops.replace_view_now(view_name text, definition text) returns void language plpgsql as $$
declare
    stacked record;
    stacked_names text[] := '{}';
    definitions text[] := '{}';
begin
    begin
        if to_regclass(view_name) is not null then
            perform ops.lock_view(to_regclass(view_name));
        end if;
        execute format('create or replace view %s as %s', view_name, definition);
    exception when invalid_table_definition then
        -- Columns went, moved or changed type. The views on top are taken off from the outermost in and put back as
        -- they were; where that is impossible the error names the view and nothing has changed.
        for stacked in select * from ops.views_above(view_name::regclass) order by depth desc loop
            perform ops.lock_view(stacked.view_oid);
            stacked_names := stacked.view_name || stacked_names;
            definitions := rtrim(pg_get_viewdef(stacked.view_oid), ';') || definitions;
            execute format('drop view %s', stacked.view_name);
        end loop;
        execute format('drop view %s', view_name);
        execute format('create view %s as %s', view_name, definition);
        for number in 1 .. cardinality(stacked_names) loop
            begin
                execute format('create view %s as %s', stacked_names[number], definitions[number]);
            exception when undefined_column or undefined_function or datatype_mismatch then
                raise exception 'view % reads columns that the new % no longer has: %',
                    stacked_names[number], view_name, sqlerrm
                using hint = 'Redefine or drop that view first, then build again.';
            end;
        end loop;
    end;
    perform ops.drop_retired();
end $$;
comment on function ops.replace_view_now(text, text) is 'One attempt of ops.replace_view.';

create or replace function ops.replace_view(view_name text, definition text) returns void language plpgsql as $$
begin
    perform ops.take_over(view_name, format('select null::text[] from ops.replace_view_now(%L, %L)', view_name, definition));
end $$;

create function ops.swap_aggregate_now(schema_name text, aggregate_name text, new_name text, hash text, publisher text)
returns void language plpgsql as $$
declare
    target text := format('%I.%I', schema_name, aggregate_name);
    retired_name text := aggregate_name || '__retired';
    view_names text[];
    definitions text[];
begin
    if to_regclass(target) is null then
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
    else
        perform ops.lock_views_over(target::regclass);
        select array_agg(view_name), array_agg(definition) into view_names, definitions
        from ops.dependent_views(target::regclass);
        execute format('alter materialized view %s rename to %I', target, retired_name);
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
        for number in 1 .. coalesce(cardinality(view_names), 0) loop
            execute format('create or replace view %s as %s', view_names[number], definitions[number]);
        end loop;
        execute format('drop materialized view %I.%I', schema_name, retired_name);
    end if;
    insert into ops.definition (node, definition_hash) values (schema_name || '.' || aggregate_name, hash)
    on conflict (node) do update
        set definition_hash = excluded.definition_hash, defined_at = excluded.defined_at;
    insert into ops.change (node) values (publisher);
    perform ops.drop_retired();
end $$;
comment on function ops.swap_aggregate_now(text, text, text, text, text) is 'One attempt of ops.swap_aggregate.';

create or replace function ops.swap_aggregate(
    schema_name text, aggregate_name text, new_name text, hash text, publisher text
) returns void language plpgsql as $$
begin
    perform ops.take_over(
        format('%I.%I', schema_name, aggregate_name),
        format(
            'select null::text[] from ops.swap_aggregate_now(%L, %L, %L, %L, %L)',
            schema_name, aggregate_name, new_name, hash, publisher
        )
    );
end $$;
