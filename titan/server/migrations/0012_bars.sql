-- What the time model and the bars need of the feed, of sessions and of corporate actions.

-- A change may concern one timeframe of every instrument: one more row of config.timeframe is not everything anew.
alter table ops.change drop constraint change_check1;
comment on column ops.change.timeframe is 'Null: every timeframe. Without an instrument: that timeframe of every instrument.';

alter table ops.dirty add column is_written boolean not null default false;
comment on column ops.dirty.is_written is 'Whether rows were deleted here; with those that were inserted, what is worth publishing.';

-- Views that the server keeps for itself (those behind a continuous aggregate) are none of ours to repoint.
create or replace function ops.dependent_views(relation regclass)
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
        and namespace.nspname not like '\_timescaledb%'
$$;

create aggregate ops.product(double precision) (sfunc = float8mul, stype = double precision, initcond = '1');
comment on aggregate ops.product(double precision) is 'The product; in a window, multiplied in the order of the rows.';

-- Sessions, holidays and timeframes are read by small models that publish what differs: an edit wakes those, and they say
-- which instruments it concerns, from which day on.
drop trigger publish on config.session;
drop function config.publish_session();

create function config.check_session() returns trigger language plpgsql as $$
begin
    if not new.is_24_7 and new.open_local >= new.close_local then
        raise exception 'config.session: % opens at % and closes at %, not after it', new.session_id, new.open_local, new.close_local
        using hint = 'A session lies within one local date. One that crosses midnight wants a timezone in which it does not.';
    end if;
    begin
        perform now() at time zone new.timezone;
    exception when invalid_parameter_value then
        raise exception 'config.session: % has the unknown timezone %', new.session_id, quote_nullable(new.timezone)
        using hint = 'select name from pg_timezone_names lists them; for example America/New_York.';
    end;
    return new;
end $$;
create trigger check_session before insert or update on config.session
for each row execute function config.check_session();

do $$
declare
    relation text;
begin
    foreach relation in array array['session', 'holiday', 'holiday_rule'] loop
        execute format(
            'create trigger publish after insert or update or delete or truncate on config.%I '
            'for each statement execute function config.publish_table()', relation
        );
    end loop;
end $$;

-- Corporate actions.
create table raw.adjustment (
    instrument_id integer not null references raw.instrument,
    ex_date date not null,
    kind text not null check (kind in ('split', 'dividend')),
    ratio double precision check (ratio > 0 and ratio < 'infinity'),
    amount double precision check (amount > 0 and amount < 'infinity'),
    price_factor double precision check (price_factor > 0 and price_factor < 1),
    known_at timestamptz,
    batch_id bigint not null,
    primary key (instrument_id, ex_date, kind),
    check (kind <> 'split' or (ratio is not null and amount is null and price_factor is null)),
    check (kind <> 'dividend' or (ratio is null and num_nonnulls(amount, price_factor) = 1))
);
comment on table raw.adjustment is 'One row per (instrument, ex-date, kind): splits and cash dividends, the current version.';
comment on column raw.adjustment.ex_date is 'First local date that trades without it.';
comment on column raw.adjustment.ratio is 'Of a split: shares after it for one before (7 for 7:1, 0.1 for a reverse 1:10).';
comment on column raw.adjustment.amount is 'Of a dividend: cash per share as traded before the ex-date, in the quote currency.';
comment on column raw.adjustment.price_factor is
'Of a dividend, instead of the amount: what prices before the ex-date are multiplied by, (close - amount) / close.';
comment on column raw.adjustment.known_at is 'When it became known, if that was after the ex-date began; null: it was known by then.';

create table raw.adjustment_revision (
    like raw.adjustment,
    to_batch bigint,
    replaced_at timestamptz not null default clock_timestamp()
);
comment on table raw.adjustment_revision is
'Versions of adjustments that no longer stand; to_batch is the batch that replaced one, null where it was deleted. Append-only.';

create function raw.publish_adjustment() returns trigger language plpgsql as $$
declare
    touched raw.adjustment := coalesce(new, old);
begin
    if tg_op <> 'INSERT' then
        insert into raw.adjustment_revision
        select old.*, case when tg_op = 'UPDATE' then new.batch_id end;
    end if;
    -- A day early is early enough for every timezone.
    insert into ops.change (node, instrument_id, timeframe, first_at)
    select
        'raw.adjustment', instrument_id, base_timeframe,
        (least(new.ex_date, old.ex_date)::timestamp - interval '1 day') at time zone 'UTC'
    from raw.instrument where instrument_id = touched.instrument_id;
    return null;
end $$;
create trigger publish after insert or update or delete on raw.adjustment
for each row execute function raw.publish_adjustment();

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema raw, config to titan_reader;
    end if;
end $$;

-- What continuous aggregates need. The end of a bar from the bucket of time_bucket(…, closed_at, "offset" => 1 microsecond): a bar
-- holds the candles that close after its open and not after its end. Immutable: seconds do not depend on a timezone.
create function ops.bar_closed_at(bucket timestamptz, seconds integer) returns timestamptz
language sql immutable strict parallel safe
return bucket - interval '1 microsecond' + make_interval(secs => seconds);

create function ops.swap_aggregate(schema_name text, aggregate_name text, new_name text, hash text, publisher text)
returns void language plpgsql as $$
declare
    target text := format('%I.%I', schema_name, aggregate_name);
    retired_name text := aggregate_name || '__retired';
    dependent record;
begin
    if to_regclass(target) is null then
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
    else
        drop table if exists pg_temp.dependent;
        create temporary table dependent on commit drop as
        select * from ops.dependent_views(target::regclass);
        execute format('alter materialized view %s rename to %I', target, retired_name);
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
        for dependent in select * from pg_temp.dependent loop
            execute format('create or replace view %s as %s', dependent.view_name, dependent.definition);
        end loop;
        execute format('drop materialized view %I.%I', schema_name, retired_name);
    end if;
    insert into ops.definition (node, definition_hash) values (schema_name || '.' || aggregate_name, hash)
    on conflict (node) do update
        set definition_hash = excluded.definition_hash, defined_at = excluded.defined_at;
    insert into ops.change (node) values (publisher);
    perform ops.drop_retired();
end $$;
comment on function ops.swap_aggregate(text, text, text, text, text) is
'Gives a new continuous aggregate the name and the views of the old one, which is dropped without cascade; raises and changes nothing '
'where a view cannot read the new columns.';

-- A market in the wrong session: nine tenths of New York's week are outside its hours, three tenths of the days closed.
insert into config.expectation (expectation, suite, severity, threshold) values
('outside_session_share', 'intraday', 'critical', 0.7),
('outside_session_share', 'daily', 'critical', 0.2),
('closed_date_count', '*', 'warning', 0);
