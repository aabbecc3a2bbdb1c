-- What the first five left open: pruning while a model is being built, sessions that contradict themselves, and edits of
-- configuration that would give loaded candles other dates or leave a source without an answer.
create or replace function ops.prune_changes() returns bigint language plpgsql as $$
declare
    pruned bigint;
begin
    -- A model that is being built for the first time has read its parents and not said so yet. Every build holds this
    -- lock shared, so nothing is pruned while one is under way.
    if not pg_try_advisory_xact_lock(hashtext('titan'), hashtext('build')) then
        return 0;
    end if;
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
comment on function ops.prune_changes() is 'Drops the changes that every consumer has read; returns how many.';

alter table config.session
    add check (not is_24_7 or (timezone = 'UTC' and open_local = '00:00' and close_local = '00:00'));

-- The dates of loaded candles were read in the session's timezone: another one would give them other dates.
create function config.refuse_timezone() returns trigger language plpgsql as $$
begin
    if exists (select from raw.instrument where session_id = old.session_id and base_timeframe is not null) then
        raise exception 'session % has instruments with candles, whose dates were read in %', old.session_id, old.timezone
        using hint = 'Insert another session, delete the candles, and load them again with --session.';
    end if;
    return new;
end $$;
create trigger refuse_timezone before update on config.session
for each row when ((old.timezone, old.is_24_7) is distinct from (new.timezone, new.is_24_7))
execute function config.refuse_timezone();

create function config.refuse_removal() returns trigger language plpgsql as $$
begin
    raise exception 'config.exchange keeps its row *, which stands for every source without one of its own'
    using hint = 'Delete the other rows by name, or update this one.';
end $$;
create trigger refuse_truncate before truncate on config.exchange
for each statement execute function config.refuse_removal();
create trigger refuse_delete before delete on config.exchange
for each row when (old.exchange = '*') execute function config.refuse_removal();
