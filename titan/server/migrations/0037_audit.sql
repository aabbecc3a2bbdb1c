-- Who changed what people decide: configuration, approvals, what is in quarantine. Entries are chained by hashes, and stay.
create table locks.audit ();
comment on table locks.audit is 'Locked by who writes an entry of ops.audit, until it is committed: entries have no gaps.';

create table ops.audit (
    seq bigint primary key,
    entered_at timestamptz not null,
    login text not null,
    role text not null,
    application text not null,
    address inet,
    run_id uuid,
    relation text not null,
    action text not null check (action in ('baseline', 'insert', 'update', 'delete', 'truncate')),
    row_count bigint not null,
    changes jsonb not null,
    previous_hash text not null,
    hash text not null
);
create index audit_relation on ops.audit (relation, seq);
comment on table ops.audit is
'One row per statement that changed what people decide: who, when, what it was and what it is. Append-only; each entry has the hash of the one before in its own.';
comment on column ops.audit.login is 'The login of the session (session_user), whatever role it took on.';
comment on column ops.audit.changes is 'One object per row: key, before, after. Of a row that was updated only the columns that changed.';
comment on column ops.audit.hash is 'SHA-256 of previous_hash and the entry (ops.audit_text), in hexadecimal.';

create function ops.audit_text(entry ops.audit) returns text language sql immutable set timezone = 'UTC' as $$
    select concat_ws(
        '|', entry.previous_hash, entry.seq, (extract(epoch from entry.entered_at) * 1000000)::bigint,
        to_json(entry.login), to_json(entry.role), to_json(entry.application), coalesce(entry.address::text, ''),
        coalesce(entry.run_id::text, ''), entry.relation, entry.action, entry.row_count, entry.changes
    )
$$;
comment on function ops.audit_text(ops.audit) is 'What the hash of an entry is of.';

create function ops.hash_audit(entry ops.audit) returns text language sql immutable as $$
    select encode(sha256(convert_to(ops.audit_text(entry), 'UTF8')), 'hex')
$$;
comment on function ops.hash_audit(ops.audit) is 'What the hash of an entry has to be.';

create function ops.key_of(relation regclass) returns text[] language sql stable as $$
    select array_agg(attribute.attname::text order by attribute.attnum)
    from pg_attribute as attribute
    left join pg_index as index on attribute.attrelid = index.indrelid and index.indisprimary
    where
        attribute.attrelid = relation and attribute.attnum > 0 and not attribute.attisdropped
        and (index.indrelid is null or attribute.attnum = any (index.indkey))
$$;
comment on function ops.key_of(regclass) is 'Columns of the primary key; all where there is none.';

-- As its owner, whoever makes the change: nobody needs a right to write entries, and nobody but the owner has one.
create function ops.enter_audit(of_relation text, of_action text, changed jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    entry ops.audit;
begin
    lock table locks.audit in exclusive mode;
    select audit.seq, audit.hash into entry.seq, entry.previous_hash from ops.audit as audit order by audit.seq desc limit 1;
    entry.seq := coalesce(entry.seq, 0) + 1;
    entry.previous_hash := coalesce(entry.previous_hash, '');
    entry.entered_at := clock_timestamp();
    entry.login := session_user;
    entry.role := coalesce(nullif(current_setting('role', true), 'none'), session_user);
    entry.application := coalesce(current_setting('application_name', true), '');
    entry.address := inet_client_addr();
    entry.run_id := ops.current_run();
    entry.relation := of_relation;
    entry.action := of_action;
    entry.row_count := jsonb_array_length(changed);
    entry.changes := changed;
    entry.hash := ops.hash_audit(entry);
    insert into ops.audit select entry.*;
end $$;
comment on function ops.enter_audit(text, text, jsonb) is 'Appends an entry.';
revoke execute on function ops.enter_audit(text, text, jsonb) from public;

create function ops.enter_changes(relation regclass, action text, befores jsonb, afters jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    key_columns constant text[] := ops.key_of(relation);
    changed jsonb;
begin
    with earlier as (
        select ops.only(value, key_columns) as key, value from jsonb_array_elements(befores)
    ),

    later as (
        select ops.only(value, key_columns) as key, value from jsonb_array_elements(afters)
    )

    select jsonb_agg(jsonb_build_object('key', coalesce(earlier.key, later.key)) || case
        when earlier.value is null then jsonb_build_object('after', later.value)
        when later.value is null then jsonb_build_object('before', earlier.value)
        else jsonb_build_object(
            'before', ops.differing(earlier.value, later.value), 'after', ops.differing(later.value, earlier.value)
        )
    end order by coalesce(earlier.key, later.key)) into changed
    from earlier full join later on earlier.key = later.key
    where earlier.value is distinct from later.value;
    if changed is not null then
        perform ops.enter_audit(relation::text, action, changed);
    end if;
end $$;
comment on function ops.enter_changes(regclass, text, jsonb, jsonb) is
'Appends an entry of the rows that a statement changed, as they were and as they are; none if nothing differs.';
revoke execute on function ops.enter_changes(regclass, text, jsonb, jsonb) from public;

-- Values are written as text that no setting of a session changes.
create function ops.audit_insert() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
begin
    perform ops.enter_changes(tg_relid, 'insert', '[]', (select coalesce(jsonb_agg(to_jsonb(one)), '[]') from new_rows as one));
    return null;
end $$;

create function ops.audit_update() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
begin
    perform ops.enter_changes(
        tg_relid, 'update',
        (select coalesce(jsonb_agg(to_jsonb(one)), '[]') from old_rows as one),
        (select coalesce(jsonb_agg(to_jsonb(one)), '[]') from new_rows as one)
    );
    return null;
end $$;

create function ops.audit_delete() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
begin
    perform ops.enter_changes(tg_relid, 'delete', (select coalesce(jsonb_agg(to_jsonb(one)), '[]') from old_rows as one), '[]');
    return null;
end $$;

create function ops.audit_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform ops.enter_audit(format('%s.%s', tg_table_schema, tg_table_name), 'truncate', '[]');
    return null;
end $$;

create function ops.only(value jsonb, keys text[]) returns jsonb language sql immutable as $$
    select coalesce(jsonb_object_agg(name, value -> name), '{}') from unnest(keys) as name
$$;
comment on function ops.only(jsonb, text[]) is 'Those fields of an object.';

create function ops.differing(value jsonb, other jsonb) returns jsonb language sql immutable as $$
    select coalesce(jsonb_object_agg(field.key, field.value), '{}')
    from jsonb_each(value) as field
    where field.value is distinct from other -> field.key
$$;
comment on function ops.differing(jsonb, jsonb) is 'The fields of an object that another one does not have so.';

create function ops.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'ops.audit is append-only' using hint = 'titan audit verify proves that nothing was changed in it.';
end $$;
create trigger append_only before update or delete on ops.audit for each row execute function ops.refuse_change();
create trigger no_truncate before truncate on ops.audit for each statement execute function ops.refuse_change();

create function ops.audit_table(relation regclass, actions text[] default '{insert,update,delete,truncate}') returns void
language plpgsql set timezone = 'UTC' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
declare
    rows_there jsonb;
begin
    if 'insert' = any (actions) then
        execute format(
            'create trigger witness_insert after insert on %s referencing new table as new_rows '
            'for each statement execute function ops.audit_insert()', relation
        );
        execute format('select coalesce(jsonb_agg(jsonb_build_object(''after'', to_jsonb(one))), ''[]'') from %s as one', relation)
        into rows_there;
        perform ops.enter_audit(relation::text, 'baseline', rows_there);
    end if;
    if 'update' = any (actions) then
        execute format(
            'create trigger witness_update after update on %s referencing old table as old_rows new table as new_rows '
            'for each statement execute function ops.audit_update()', relation
        );
    end if;
    if 'delete' = any (actions) then
        execute format(
            'create trigger witness_delete after delete on %s referencing old table as old_rows '
            'for each statement execute function ops.audit_delete()', relation
        );
    end if;
    execute format(
        'create trigger witness_truncate after truncate on %s for each statement execute function ops.audit_truncate()', relation
    );
end $$;
-- Named so that it fires after those that publish: who edits two tables at once would otherwise wait in a circle with somebody.
comment on function ops.audit_table(regclass, text[]) is
'Has the changes of a table entered in ops.audit from now on, after what is in it now. A migration that adds a table of config calls it.';

insert into config.kept (relation, rule, kept, is_by_age) values ('ops.audit', 'for good', null, false);

select ops.audit_table(format('%I.%I', namespace.nspname, class.relname)::regclass)
from pg_class as class
inner join pg_namespace as namespace on class.relnamespace = namespace.oid
where namespace.nspname = 'config' and class.relkind = 'r'
order by class.relname;
select ops.audit_table('lab.strategy');
select ops.audit_table('lab.approval');
-- What is turned away is the loader's doing; what becomes of it is somebody's.
select ops.audit_table('raw.quarantine', '{update,delete}');

create function ops.verify_audit() returns table (seq bigint, fault text) language plpgsql stable
set timezone = 'UTC' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
declare
    audited record;
begin
    return query
    select found.seq, case
        when found.seq <> coalesce(found.last_seq, 0) + 1 then format('%s entries before it are missing', found.seq - coalesce(found.last_seq, 0) - 1)
        when found.previous_hash <> coalesce(found.last_hash, '') then 'it does not follow the entry before'
        else 'it is not what it was when it was entered'
    end
    from (
        select
            audit.seq, audit.previous_hash, audit.hash, ops.hash_audit(audit) as right_hash,
            lag(audit.seq) over later as last_seq, lag(audit.hash) over later as last_hash
        from ops.audit as audit
        window later as (order by audit.seq)
    ) as found
    where
        found.seq <> coalesce(found.last_seq, 0) + 1
        or found.previous_hash <> coalesce(found.last_hash, '')
        or found.hash <> found.right_hash
    order by found.seq;

    -- What the entries come to has to be what there is: a change that was made without one shows.
    for audited in
        select baseline.relation, max(baseline.seq) as baseline_seq
        from ops.audit as baseline where baseline.action = 'baseline' group by baseline.relation order by 1
    loop
        if to_regclass(audited.relation) is null then
            continue;
        end if;
        if (
            select count(*) from pg_trigger
            where tgrelid = audited.relation::regclass and tgname like 'witness\_%' and tgenabled in ('O', 'A')
        ) < 4 then
            seq := null;
            fault := format('%s: changes of it are entered no longer, a trigger is off or gone', audited.relation);
            return next;
        end if;
        return query execute format($sql$
            with entered as (
                select
                    audit.seq, number, change, change -> 'after' as after,
                    coalesce(change -> 'key', ops.only(change -> 'after', ops.key_of(%1$L))) as key,
                    change ? 'after' as is_there
                from ops.audit as audit
                cross join jsonb_array_elements(audit.changes) with ordinality as one (change, number)
                where audit.relation = %1$L and audit.seq >= %2$s
            ),

            cleared as (
                select coalesce(max(audit.seq), 0) as seq from ops.audit as audit
                where audit.relation = %1$L and audit.action = 'truncate'
            ),

            field as (
                -- The last value that was entered of each column of each row, since the row last came.
                select distinct on (entered.key, field.key) entered.key, field.key as name, field.value, entered.seq
                from entered
                cross join cleared
                cross join jsonb_each(entered.after) as field
                where
                    entered.is_there and entered.seq > cleared.seq
                    and not exists (
                        select from entered as gone
                        where gone.key = entered.key and not gone.is_there and gone.seq > entered.seq
                    )
                order by entered.key, field.key, entered.seq desc
            ),

            expected as (
                select field.key, jsonb_object_agg(field.name, field.value) as value, max(field.seq) as seq
                from field group by field.key
            ),

            -- What was there before an entry has to be what the one before it left: who changes a row twice, once without an
            -- entry, shows as well.
            event as (
                select
                    entered.seq, entered.key, entered.change ? 'before' as has_before, entered.is_there,
                    entered.change -> 'before' -> field.name as before,
                    lag(entered.is_there) over earlier as was_there,
                    lag(entered.after -> field.name) over earlier as left_so
                from entered
                cross join lateral jsonb_object_keys(
                    coalesce(entered.change -> 'before', '{}') || coalesce(entered.after, '{}')
                ) as field (name)
                window earlier as (
                    partition by entered.key, field.name, (
                        select count(*) from ops.audit as audit
                        where audit.relation = %1$L and audit.action = 'truncate' and audit.seq < entered.seq
                    )
                    order by entered.seq, entered.number
                )
            ),

            standing as (
                select ops.only(to_jsonb(one), ops.key_of(%1$L)) as key, to_jsonb(one) as value from %1$s as one
            )

            select distinct event.seq, format('%%s: %%s had changed without an entry', %1$L, event.key)
            from event
            where case
                when event.has_before then not event.was_there or event.left_so is distinct from event.before
                else event.was_there
            end and event.was_there is not null
            union all
            select
                expected.seq,
                format('%%s: %%s %%s', %1$L, coalesce(standing.key, expected.key), case
                    when standing.key is null then 'is gone'
                    when expected.key is null then 'came'
                    else 'changed'
                end || ' without an entry')
            from expected full join standing on expected.key = standing.key
            where
                standing.key is null or expected.key is null
                -- Columns that a migration added or took away since are no change of a person's.
                or ops.differing(expected.value, standing.value) - array(
                    select name from jsonb_object_keys(expected.value) as name where not standing.value ? name
                ) <> '{}'
            order by 2
            limit 20
        $sql$, audited.relation, audited.baseline_seq);
    end loop;
end $$;
comment on function ops.verify_audit() is
'One row per fault of ops.audit: an entry that is missing or was altered, a table that is not what its entries come to. None where all is well.';

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on ops.audit to titan_reader;
    end if;
end $$;
