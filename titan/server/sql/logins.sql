-- Logins that read and do nothing else: members of titan_reader who can make neither roles nor anything they like.
select
    login.rolname as name,
    coalesce(
        (
            select split_part(said.option, '=', 2) from unnest(own.setconfig) as said (option)
            where split_part(said.option, '=', 1) = 'statement_timeout'
        ),
        'none'
    ) as statement_timeout,
    login.rolvaliduntil as expires_at,
    (
        select count(*) from pg_stat_activity as session
        where session.usename = login.rolname
    ) as sessions
from pg_roles as login
left join pg_db_role_setting as own
    on
        login.oid = own.setrole
        and own.setdatabase = (
            select here.oid from pg_database as here
            where here.datname = current_database()
        )
where
    login.rolcanlogin
    and not login.rolsuper
    and not login.rolcreaterole
    and exists (
        select from pg_auth_members as member
        inner join pg_roles as reader on member.roleid = reader.oid
        where member.member = login.oid and reader.rolname = 'titan_reader'
    )
order by login.rolname
