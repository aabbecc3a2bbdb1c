-- What the gateway needs: a number that says whether its answers still hold, keys, and the role that it reads as.

-- The newest number of ops.change, which itself forgets what everybody has read. It is moved under the feed's lock, so it is
-- visible in its order, together with what it stands for.
create table ops.head (
    is_only boolean primary key default true check (is_only),
    seq bigint not null,
    moved_at timestamptz not null default clock_timestamp()
) with (fillfactor = 10);
comment on table ops.head is 'One row: the number of the last published change, and when that was.';
insert into ops.head (seq)
select greatest(
    (select coalesce(max(seq), 0) from ops.change), (select coalesce(max(seq), 0) from ops.progress),
    (select coalesce(max(seq), 0) from ops.relay where topic <> 'alerts' and topic <> 'traces')
);

create function ops.move_head() returns trigger language plpgsql as $$
begin
    update ops.head set seq = (select max(seq) from added), moved_at = clock_timestamp() where exists (select from added);
    return null;
end $$;
create trigger move_head after insert on ops.change referencing new table as added
for each statement execute function ops.move_head();

create view ops.data_version as
select
    head.seq || '.' || coalesce((select max(audit.seq) from ops.audit as audit), 0)
    || '.' || coalesce((select max(batch.batch_id) from raw.load_batch as batch), 0) as data_version,
    head.moved_at
from ops.head as head;
comment on view ops.data_version is
'One row: what an answer was made of. While it is the same, so are models, configuration, strategies, candles and quarantine; only what tells the hour differs.';

-- Keys: 256 random bits each, kept as their hash alone. Who may read this table learns none of them.
create table config.api_key (
    key_id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    hash bytea not null unique check (length(hash) = 32),
    scopes text[] not null check (scopes <@ '{market,research,operations}' and cardinality(scopes) > 0),
    requests_per_minute integer not null default 600 check (requests_per_minute > 0),
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default clock_timestamp()
);
comment on table config.api_key is 'One row per key of the gateway (titan key): who, what for, how often, until when.';
comment on column config.api_key.hash is 'SHA-256 of the key, which nobody keeps.';
comment on column config.api_key.scopes is 'market: bars, features, summaries, correlation, the stream; research: signals, the leaderboard; operations: health of the data, metrics.';
select ops.audit_table('config.api_key');

insert into config.kept (relation, rule, kept, is_by_age) values
('ops.head', 'one row', null, false);

-- Whoever owns the warehouse may work as its reader: the gateway does.
do $$
begin
    execute format('grant titan_reader to %I', current_user);
exception
    when insufficient_privilege or undefined_object then
        raise notice 'no right to grant titan_reader: titan serve needs a login that is a member of it';
end $$;
