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
