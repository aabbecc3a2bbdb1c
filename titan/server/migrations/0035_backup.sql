-- When the database was backed up last, and a rule that says when that is long ago.
create table ops.backup (
    finished_at timestamptz primary key default clock_timestamp(),
    place text not null,
    bytes bigint not null,
    rows_kept bigint not null,
    seconds double precision not null,
    made_by text not null default session_user
);
comment on table ops.backup is 'One row per titan backup that ended well. A backup does not hold its own row.';
comment on column ops.backup.place is 'The folder, on the machine that made it.';

insert into config.alert_rule (rule, kind, severity, repeated_after, description, condition) values (
    'backup_old', 'server', 'warning', '1 day',
    'The last titan backup is older than eight days; nothing is said where there never was one.',
    $rule$
select 'backup', format('the last one, %s, is of %s', place, to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'))
from (select * from ops.backup order by finished_at desc limit 1) as last_one
where finished_at < ops.judged_at() - interval '8 days'$rule$
);

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on ops.backup to titan_reader;
    end if;
end $$;
