-- A model that a project no longer has leaves a table that nobody refreshes: who reads it has to be told.

create table ops.left_behind (
    relation text primary key,
    since timestamptz not null default clock_timestamp()
);
comment on table ops.left_behind is
'One row per table or view of a model that the project no longer has, as schema.name. Nothing refreshes it; dropping it is up to whoever reads it.';

create or replace function ops.forget_models(known text[]) returns void language sql as $$
    insert into ops.left_behind (relation)
    select node from (select consumer as node from ops.progress union select node from ops.model) as remembered
    where node <> all (known)
    on conflict do nothing;

    delete from ops.left_behind
    where
        relation = any (known)
        or to_regclass(format('%I.%I', split_part(relation, '.', 1), split_part(relation, '.', 2))) is null;

    delete from ops.progress where consumer <> all (known);
    delete from ops.model where node <> all (known);
    delete from ops.refresh_failure where node <> all (known);
$$;
comment on function ops.forget_models(text[]) is
'Forgets the models that the project no longer has. Their tables stand, and are named in ops.left_behind.';

insert into config.kept (relation, rule, kept, is_by_age) values
('ops.left_behind', 'until the table is dropped', null, false);

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on ops.left_behind to titan_reader;
    end if;
end $$;
