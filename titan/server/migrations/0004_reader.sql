-- The reader role: whoever is granted it can read every table and view of the warehouse and change none.
do $$
begin
    if not exists (select from pg_roles where rolname = 'titan_reader') then
        create role titan_reader nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;  -- another database of the server is being migrated
    when insufficient_privilege then
        raise notice 'no right to create roles here: create titan_reader yourself and run titan db start again';
end $$;

create schema if not exists bars;
create schema if not exists features;
create schema if not exists marts;

do $$
declare
    schema_name text;
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        foreach schema_name in array array['raw', 'config', 'ops', 'bars', 'features', 'marts'] loop
            execute format('grant usage on schema %I to titan_reader', schema_name);
            execute format('grant select on all tables in schema %I to titan_reader', schema_name);
            execute format('alter default privileges in schema %I grant select on tables to titan_reader', schema_name);
        end loop;
    end if;
end $$;
