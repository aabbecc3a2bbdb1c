-- The change feed: who changed which rows, and how far each consumer has read.
-- docs/change_feed.md tells how models use it.
create schema if not exists ops;

create table ops.change (
    seq bigint generated always as identity primary key,
    node text not null,
    instrument_id integer,
    timeframe text,
    first_at timestamptz not null default '-infinity',
    last_at timestamptz not null default 'infinity',
    is_insert_or_delete boolean not null default true,
    published_at timestamptz not null default clock_timestamp(),
    check (first_at <= last_at),
    check (instrument_id is not null or timeframe is null)
);
create index change_node_seq on ops.change (node, seq);

comment on table ops.change is
'One row per range of rows that a node rewrote: a load, a model, an edit of config. Times are closed_at, both ends included.';
comment on column ops.change.seq is 'Order of publication; becomes visible in this order (see ops.lock_feed).';
comment on column ops.change.node is 'schema.name of the table or view that changed.';
comment on column ops.change.instrument_id is 'Null: every instrument.';
comment on column ops.change.timeframe is 'Null: every timeframe of the instrument.';
comment on column ops.change.is_insert_or_delete is 'Whether rows came or went, so that later rows changed position; false: values only.';

-- A sequence hands out numbers before they are visible. Without the lock a reader could see 8, remember 8, and never see a
-- 7 that commits later. The lock is taken before the number is drawn and released after the commit is visible.
create function ops.lock_feed() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('titan'), hashtext('feed'));
    return null;
end $$;

create trigger lock_feed before insert on ops.change
for each statement execute function ops.lock_feed();

create table ops.progress (
    consumer text not null,
    parent text not null,
    seq bigint not null,
    read_at timestamptz not null default clock_timestamp(),
    primary key (consumer, parent)
);
comment on table ops.progress is
'How far each consumer has read each of its parents in ops.change; written in the transaction that writes the rows.';

create table ops.definition (
    node text primary key,
    definition_hash text not null,
    defined_at timestamptz not null default clock_timestamp()
);
comment on table ops.definition is
'Hash of what each model was last built from: its full-refresh SQL and its key. Another hash rebuilds the model.';

-- The rows that a model is about to rewrite; filled and emptied within one transaction, so nothing is logged.
create unlogged table ops.dirty (
    node text not null,
    instrument_id integer,
    timeframe text,
    first_at timestamptz not null,
    last_at timestamptz not null,
    is_insert_or_delete boolean not null
);
comment on table ops.dirty is 'Ranges being rewritten by the running transaction of each model; empty otherwise.';

create function ops.prune_changes() returns bigint language sql as $$
    -- A change that every consumer of its node has read is history. A node that nobody consumes yet keeps nothing:
    -- a new consumer starts from the whole table anyway.
    with pruned as (
        delete from ops.change as change
        where not exists (
            select from ops.progress as progress
            where progress.parent = change.node and progress.seq < change.seq
        )
        returning 1
    )
    select count(*) from pruned
$$;

-- Views over a table are bound to it by identity, not by name. A rebuilt table takes over the name and the views, one by one
-- and without cascade; a view that cannot read the new columns goes on reading the old table, which stays until the view
-- itself is redefined.
create function ops.dependent_views(relation regclass)
returns table (view_oid oid, view_name text, definition text) language sql stable as $$
    select distinct
        view.oid,
        format('%I.%I', namespace.nspname, view.relname),
        rtrim(pg_get_viewdef(view.oid), ';')
    from pg_depend as depend
    join pg_rewrite as rewrite on depend.classid = 'pg_rewrite'::regclass and depend.objid = rewrite.oid
    join pg_class as view on rewrite.ev_class = view.oid and view.relkind = 'v'
    join pg_namespace as namespace on view.relnamespace = namespace.oid
    where
        depend.refclassid = 'pg_class'::regclass
        and depend.refobjid = relation
        and view.oid <> relation
$$;

create function ops.drop_retired() returns text[] language plpgsql as $$
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
        execute format('drop table %s', retired.name);
        dropped := dropped || retired.name;
    end loop;
    return dropped;
end $$;
comment on function ops.drop_retired() is 'Drops the replaced tables that no view reads any more; returns their names.';

create function ops.swap_table(schema_name text, table_name text, new_name text)
returns text[] language plpgsql as $$
declare
    target text := format('%I.%I', schema_name, table_name);
    retired_name text := left(table_name, 40) || '__retired_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS');
    primary_key text;
    dependent record;
    left_behind text[] := '{}';
begin
    drop table if exists pg_temp.dependent;
    if to_regclass(target) is not null then
        execute format('lock table %s in access exclusive mode', target);
        create temporary table dependent on commit drop as
        select * from ops.dependent_views(target::regclass);
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

    if to_regclass('pg_temp.dependent') is not null then
        for dependent in select * from pg_temp.dependent loop
            begin
                execute format('create or replace view %s as %s', dependent.view_name, dependent.definition);
            exception
                when undefined_column or invalid_table_definition or datatype_mismatch or undefined_function then
                    left_behind := left_behind || dependent.view_name;
            end;
        end loop;
    end if;
    perform ops.drop_retired();
    return left_behind;
end $$;
comment on function ops.swap_table(text, text, text) is
'Gives new_name the name and the views of table_name. Returns the views that cannot read the new columns and still read the old table.';

create function ops.replace_view(view_name text, definition text) returns void language plpgsql as $$
declare
    dependent record;
begin
    begin
        execute format('create or replace view %s as %s', view_name, definition);
    exception when invalid_table_definition then
        -- Columns went, moved or changed type. The views on top are taken off from the outermost in and put back as
        -- they were; where that is impossible the error names the view and nothing has changed.
        drop table if exists pg_temp.stacked;
        create temporary table stacked on commit drop as
        with recursive stack as (
            select 1 as depth, direct.* from ops.dependent_views(view_name::regclass) as direct
            union all
            select stack.depth + 1, above.*
            from stack cross join lateral ops.dependent_views(stack.view_oid::regclass) as above
        )
        select stack.view_name, stack.definition, max(stack.depth) as depth
        from stack group by stack.view_name, stack.definition;

        for dependent in select * from pg_temp.stacked order by depth desc loop
            execute format('drop view %s', dependent.view_name);
        end loop;
        execute format('drop view %s', view_name);
        execute format('create view %s as %s', view_name, definition);
        for dependent in select * from pg_temp.stacked order by depth loop
            begin
                execute format('create view %s as %s', dependent.view_name, dependent.definition);
            exception when undefined_column or undefined_function or datatype_mismatch then
                raise exception 'view % reads columns that the new % no longer has: %',
                    dependent.view_name, view_name, sqlerrm
                using hint = 'Redefine or drop that view first, then build again.';
            end;
        end loop;
    end;
    perform ops.drop_retired();
end $$;
comment on function ops.replace_view(text, text) is
'Creates or redefines a view and keeps every view on top of it; raises and changes nothing where that is impossible.';
