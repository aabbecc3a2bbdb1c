-- A model is declared by dbt and refreshed by the database: what dbt knows of it is a row of ops.model, and ops.refresh(node) does
-- the rest, for dbt, for `titan refresh` and for whoever calls it. docs/change_feed.md tells how.

create function ops.engine() returns text language sql stable as $$
    select case
        when not exists (select from pg_extension where extname = 'timescaledb') then 'postgres'
        when current_setting('timescaledb.license', true) = 'timescale' then 'community'
        else 'apache'
    end
$$;
comment on function ops.engine() is
'What the server can do: postgres, apache (TimescaleDB''s hypertables) or community (continuous aggregates as well).';

create table ops.model (
    node text primary key,
    kind text not null check (kind in ('table', 'view')),
    sql text not null,
    narrowed_sql text,
    memory text check (memory in ('bucket', 'recursive', 'interval', 'cross_section', 'whole')),
    key text[],
    bucket text,
    widened_sql text,
    frozen text check (frozen in ('all', 'base')),
    chunk_length interval,
    indexes text[] not null default '{}',
    analyzed text[] not null default '{}',
    work_mem text,
    parents text[] not null,
    generated_by text[] not null default '{}',
    depth integer not null,
    engine text not null,
    definition_hash text not null,
    built_hash text,
    built_at timestamptz,
    check ((kind = 'table') = (memory is not null and key is not null))
);
comment on table ops.model is 'One row per model that dbt has declared here: what it is made of, and all that a refresh of it needs.';
comment on column ops.model.node is 'schema.name of the table or view.';
comment on column ops.model.sql is 'What all of it is: the SQL of a full build, as dbt compiled it.';
comment on column ops.model.narrowed_sql is 'The same of the dirty rows alone (ops.narrow).';
comment on column ops.model.memory is 'What a change of a parent makes dirty (ops.dirty_sql).';
comment on column ops.model.key is 'Columns of the primary key.';
comment on column ops.model.widened_sql is 'Each change in `pending` grown to the bucket that it touches; null: the row itself.';
comment on column ops.model.frozen is 'Which rows stay once their candles are gone: all, or those of the base timeframe (ops.horizon).';
comment on column ops.model.chunk_length is 'Of closed_at, where the table is a hypertable.';
comment on column ops.model.parents is 'Nodes whose changes concern it: sources and tables, also those behind views, and the views.';
comment on column ops.model.generated_by is 'Parents of whose rows the SQL itself was made: when they change, dbt has to look at it.';
comment on column ops.model.depth is 'Longest way from a source: a model is deeper than its parents.';
comment on column ops.model.engine is 'The engine that it was declared for (ops.engine).';
comment on column ops.model.definition_hash is 'Of what decides the rows and how they are kept, as declared.';
comment on column ops.model.built_hash is 'The same of what stands; of a view with what it stands on.';

create table ops.aggregate (
    node text primary key,
    consumer text not null,
    source text not null,
    timeframe text not null,
    seconds integer not null,
    sql text not null,
    definition_hash text not null,
    built_hash text,
    unique (consumer, timeframe)
);
comment on table ops.aggregate is
'One row per continuous aggregate: bars of a timeframe that the table `consumer` leaves to it, on the Community edition.';
comment on column ops.aggregate.sql is 'The query of the aggregate.';

-- What stands is declared anew, and built once more: definitions had the name of the database in them.
drop table ops.definition;

create table ops.project (
    is_only_row boolean primary key default true check (is_only_row),
    files jsonb not null,
    built_at timestamptz not null default clock_timestamp()
);
comment on table ops.project is
'At most one row: the files of the project that every model was declared from, each with its hash. None where that is not known: dbt was '
'called by hand and declared something new.';

create table ops.refresh_failure (
    node text primary key,
    failed_at timestamptz not null,
    attempts integer not null,
    retry_at timestamptz not null,
    sqlstate text not null,
    message text not null
);
comment on table ops.refresh_failure is 'One row per model whose last refresh failed: why, and when it is tried again.';

-- How a definition becomes what a refresh runs --------------------------------------------------------------------------------

create function ops.narrowed_input(relation text, preceding integer, timeframe text, memory text, node text)
returns text language plpgsql immutable as $$
begin
    if preceding > 0 and memory not in ('recursive', 'interval') then
        raise exception '%: preceding rows need memory recursive or interval, where a series has one dirty range', node;
    end if;
    if memory = 'cross_section' then
        return format($sql$(
    select input.*
    from ops.dirty as dirty
    inner join %1$s as input on input.closed_at between dirty.first_at and dirty.last_at
    where dirty.node = %2$L
)$sql$, relation, node);
    end if;
    -- Each branch is a lateral index read, kept one by `offset 0`: the planner takes a range that it cannot see for a ninth of a
    -- series, and would as soon merge the dirty rows with the whole relation.
    return format($sql$(
    select input.*
    from ops.dirty as dirty
    cross join lateral (
        select dirty_row.* from %1$s as dirty_row
        where
            dirty_row.instrument_id = dirty.instrument_id
            and dirty_row.timeframe = dirty.timeframe
            and dirty_row.closed_at between dirty.first_at and dirty.last_at%3$s
        offset 0
    ) as input
    where dirty.node = %2$L and %4$s
    union all
    select input.*
    from ops.dirty as dirty
    cross join lateral (
        select dirty_row.* from %1$s as dirty_row
        where
            dirty_row.instrument_id = dirty.instrument_id
            and dirty_row.closed_at between dirty.first_at and dirty.last_at%5$s
        offset 0
    ) as input
    where dirty.node = %2$L and dirty.timeframe is null
)$sql$,
        relation,
        node,
        case when preceding > 0 then format($sql$
        union all
        (
            select earlier.* from %1$s as earlier
            where
                earlier.instrument_id = dirty.instrument_id
                and earlier.timeframe = dirty.timeframe
                and earlier.closed_at < dirty.first_at
            order by earlier.closed_at desc
            limit %2$s
        )$sql$, relation, preceding) end,
        coalesce('dirty.timeframe = ' || timeframe, 'dirty.timeframe is not null'),
        ' and dirty_row.timeframe = ' || timeframe
    );
end $$;
comment on function ops.narrowed_input(text, integer, text, text, text) is
'One input of a model, narrowed to the rows in ops.dirty and those that precede them.';

create function ops.narrow(model ops.model) returns text language plpgsql immutable as $$
declare
    series constant text := $re$\(select \*, timestamptz '-infinity' as first_at from ([a-z_]+)\) /\* feed series \*/$re$;
    marked constant text := $re$(\S+) /\* feed preceding=(\d+)(?: timeframe=(\S+))? \*/$re$;
    narrowed text := model.sql;
    found text[];
begin
    if 'closed_at' = any (model.key) and model.sql !~ series and model.sql !~ marked then
        raise exception '% marks no input with feed(): every refresh would read all of them', model.node;
    end if;
    narrowed := regexp_replace(narrowed, series, format($sql$(
    select every.*, dirty.first_at
    from ops.dirty as dirty
    inner join \1 as every
        on dirty.instrument_id = every.instrument_id and (dirty.timeframe is null or dirty.timeframe = every.timeframe)
    where dirty.node = %L
)$sql$, model.node), 'g');
    for found in select distinct match from regexp_matches(narrowed, marked, 'g') as match loop
        narrowed := replace(
            narrowed,
            format('%s /* feed preceding=%s%s */', found[1], found[2], ' timeframe=' || found[3]),
            ops.narrowed_input(found[1], found[2]::integer, found[3], model.memory, model.node)
        );
    end loop;
    return narrowed;
end $$;
comment on function ops.narrow(ops.model) is
'The SQL of a model with each input that it marks by feed() narrowed to the dirty rows (docs/change_feed.md).';

create function ops.unless_frozen(frozen text, alias text) returns text language sql immutable as $$
    select case when frozen is null then '' else format($sql$
    and not exists (
        select from ops.horizon as horizon
        where
            horizon.instrument_id = %1$s.instrument_id
            and horizon.horizon_at >= %1$s.closed_at%2$s
    )$sql$, alias, case frozen when 'base' then format(' and horizon.timeframe = %s.timeframe', alias) end) end
$$;
comment on function ops.unless_frozen(text, text) is
'A condition that leaves out the rows of a model whose candles are gone (ops.horizon): they can no longer be computed.';

create function ops.define_aggregates(of_node text, definitions jsonb) returns void language sql as $$
    delete from ops.aggregate
    where consumer = of_node and timeframe not in (select definition ->> 'timeframe' from jsonb_array_elements(definitions) as definition);
    insert into ops.aggregate as standing (node, consumer, source, timeframe, seconds, sql, definition_hash)
    select
        wanted.node, of_node, wanted.source, wanted.timeframe, wanted.seconds, wanted.sql, md5(concat_ws('|', wanted.node, wanted.sql))
    from (
        select
            definition ->> 'name' as node,
            definition ->> 'source' as source,
            definition ->> 'timeframe' as timeframe,
            (definition ->> 'seconds')::integer as seconds,
            replace(definition ->> 'sql', format('"%s".', current_database()), '') as sql
        from jsonb_array_elements(definitions) as definition
    ) as wanted
    on conflict (node) do update
        set seconds = excluded.seconds, sql = excluded.sql, definition_hash = excluded.definition_hash
        where (standing.sql, standing.seconds, standing.definition_hash)
            is distinct from (excluded.sql, excluded.seconds, excluded.definition_hash)
$$;
comment on function ops.define_aggregates(text, jsonb) is 'The continuous aggregates that a table leaves timeframes to (ops.define).';

create function ops.define(definition jsonb) returns ops.model language plpgsql as $$
declare
    model ops.model := jsonb_populate_record(null::ops.model, definition);
begin
    -- A database may be copied or renamed: what is kept does not name it.
    model.sql := replace(model.sql, format('"%s".', current_database()), '');
    model.widened_sql := replace(model.widened_sql, format('"%s".', current_database()), '');
    model.indexes := coalesce(model.indexes, '{}');
    model.analyzed := coalesce(model.analyzed, '{}');
    model.generated_by := coalesce(model.generated_by, '{}');
    model.engine := coalesce(model.engine, ops.engine());
    model.depth := 1 + coalesce(
        (select max(parent.depth) from ops.model as parent where parent.node = any (model.parents)), 0
    );
    if model.kind = 'table' then
        if model.memory is null or model.key is null then
            raise exception '%: a table names its memory and its key', model.node;
        elsif model.memory not in ('bucket', 'recursive', 'interval', 'cross_section', 'whole') then
            raise exception '%: unknown memory ''%''; it is one of bucket, recursive, interval, cross_section, whole',
                model.node, model.memory;
        end if;
        if model.memory <> 'whole' then
            model.narrowed_sql := ops.narrow(model);
        end if;
    end if;
    model.definition_hash := md5(
        concat_ws('|', model.sql, model.memory, model.key, model.bucket, model.indexes, model.chunk_length)
    );
    select standing.built_hash, standing.built_at into model.built_hash, model.built_at
    from ops.model as standing where standing.node = model.node;
    insert into ops.model as standing select model.*
    on conflict (node) do update set
        kind = excluded.kind,
        sql = excluded.sql,
        narrowed_sql = excluded.narrowed_sql,
        memory = excluded.memory,
        key = excluded.key,
        bucket = excluded.bucket,
        widened_sql = excluded.widened_sql,
        frozen = excluded.frozen,
        chunk_length = excluded.chunk_length,
        indexes = excluded.indexes,
        analyzed = excluded.analyzed,
        work_mem = excluded.work_mem,
        parents = excluded.parents,
        generated_by = excluded.generated_by,
        depth = excluded.depth,
        engine = excluded.engine,
        definition_hash = excluded.definition_hash
    where (standing.*) is distinct from (excluded.*);
    perform ops.define_aggregates(model.node, coalesce(definition -> 'aggregates', '[]'));
    return model;
end $$;
comment on function ops.define(jsonb) is
'Records what dbt declares of a model: an object with the columns of ops.model, and `aggregates`, objects with name, source, '
'timeframe, seconds and sql. Writes nothing where that is what is known.';

-- What a refresh has to do ------------------------------------------------------------------------------------------------------

create function ops.reach_sql(memory text, node text) returns text language sql immutable as $$
    select case memory
        when 'bucket' then $sql$
    select
        instrument_id,
        timeframe,
        lower(span) as first_at,
        upper(span) as last_at,
        is_insert_or_delete
    from (
        select
            instrument_id,
            timeframe,
            unnest(range_agg(tstzrange(first_at, last_at, '[]'))) as span,
            bool_or(is_insert_or_delete) as is_insert_or_delete
        from series
        group by instrument_id, timeframe
    ) as merged$sql$
        when 'cross_section' then $sql$
    select
        null::integer as instrument_id,
        null::text as timeframe,
        lower(span) as first_at,
        upper(span) as last_at,
        is_insert_or_delete
    from (
        select
            unnest(range_agg(tstzrange(first_at, last_at, '[]'))) as span,
            bool_or(is_insert_or_delete) as is_insert_or_delete
        from series
    ) as merged$sql$
        else format($sql$
    select
        start.instrument_id,
        start.timeframe,
        min(earliest.first_at) as first_at,
        timestamptz 'infinity' as last_at,
        start.is_insert_or_delete
    from start
    inner join %s as earliest
        on start.instrument_id = earliest.instrument_id and start.timeframe is not distinct from earliest.timeframe
    group by start.instrument_id, start.timeframe, start.is_insert_or_delete$sql$,
            case memory when 'interval' then 'begun' else 'start' end)
    end
$$;
comment on function ops.reach_sql(text, text) is
'The dirty ranges of each series. Those of one never overlap, or their rows would be written twice.';

create function ops.dirty_sql(model ops.model) returns text language sql immutable as $$
    select format($sql$
insert into ops.dirty (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
with recursive pending as (
    -- A change of one timeframe concerns every instrument.
    select
        coalesce(change.instrument_id, instrument.instrument_id) as instrument_id,
        change.timeframe,
        change.instrument_id is null as is_of_timeframe,
        change.first_at,
        change.last_at,
        change.is_insert_or_delete
    from ops.change as change
    inner join ops.progress as progress
        on progress.consumer = %1$L and progress.parent = change.node and progress.seq < change.seq
    left join raw.instrument as instrument on change.instrument_id is null and change.timeframe is not null
    where change.seq <= $1
),
widened as (
    %2$s
),
whole_instrument as (
    select instrument_id from widened where timeframe is null
),
series as (
    select
        instrument_id,
        case when instrument_id not in (select instrument_id from whole_instrument) then timeframe end as timeframe,
        first_at,
        last_at,
        is_insert_or_delete
    from widened
),
start as (
    -- A whole instrument has no rows before it to continue from: it starts over.
    select
        instrument_id,
        timeframe,
        case when timeframe is null then '-infinity' else min(first_at) end as first_at,
        bool_or(is_insert_or_delete) as is_insert_or_delete
    from series
    group by instrument_id, timeframe
),%3$s
reach as (%4$s
)
select %1$L, instrument_id, timeframe, first_at, last_at, is_insert_or_delete from reach
$sql$,
        model.node,
        coalesce(model.widened_sql, 'select instrument_id, timeframe, first_at, last_at, is_insert_or_delete from pending'),
        case when model.memory = 'interval' then format($sql$
-- Rewriting an interval starts at its opening; that may cut another one, which then counts as well.
begun as (
    select instrument_id, timeframe, first_at from start
    union
    select begun.instrument_id, begun.timeframe, least(begun.first_at, crossed.opened_at)
    from begun
    cross join lateral (
        select min(standing.opened_at) as opened_at
        from %s as standing
        where
            standing.instrument_id = begun.instrument_id
            and standing.timeframe = begun.timeframe
            and standing.closed_at >= begun.first_at
    ) as crossed
),$sql$, model.node) end,
        ops.reach_sql(model.memory, model.node)
    )
$$;
comment on function ops.dirty_sql(ops.model) is
'The one place where the memory of a model turns what it has not read of its parents, up to the change $1, into the rows that it rewrites:
bucket         the bucket around each change: the row itself, or what widened_sql makes of it
recursive      everything of the series from the first change on
interval       the same, begun early enough to hold every interval that was not closed before the change
cross_section  every instant that a change touches, over all instruments
Times are closed_at, both ends included. A dirty row without a timeframe means all timeframes of the instrument.';

create function ops.columns_of(relation regclass) returns text[] language sql stable as $$
    select array_agg(quote_ident(attname) order by attnum)
    from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped
$$;

create function ops.rewrite_dirty(model ops.model, upto bigint) returns void
-- A range that the planner cannot see is taken for a large part of the relation; it is a small one, read by index.
language plpgsql set random_page_cost = 1.1 as $$
declare
    columns constant text := array_to_string(ops.columns_of(model.node::regclass), ', ');
    is_of_instrument constant boolean := model.memory <> 'cross_section';
    is_of_timeframe constant boolean := is_of_instrument and 'timeframe' = any (model.key);
    is_timed constant boolean := 'closed_at' = any (model.key);
    aggregated constant text[] := array(select timeframe from ops.aggregate where consumer = model.node);
    range record;
    affected bigint;
begin
    execute ops.dirty_sql(model) using upto;

    -- One delete per range, with literals: joined to ops.dirty it would hash the whole table, and literals prune chunks.
    for range in select ctid as place, * from ops.dirty where node = model.node loop
        execute format('delete from %s as standing where true', model.node)
            || case when is_of_instrument then format(' and instrument_id = %L', range.instrument_id) else '' end
            || case when is_of_timeframe and range.timeframe is not null then format(' and timeframe = %L', range.timeframe) else '' end
            || case when is_timed then format(' and closed_at between %L and %L', range.first_at, range.last_at) else '' end
            || ops.unless_frozen(model.frozen, 'standing');
        get diagnostics affected = row_count;
        if affected > 0 then
            update ops.dirty set is_written = true where ctid = range.place;
        end if;
    end loop;

    execute format('insert into %s (%s) select %s from (%s) as rewritten where exists (', model.node, columns, columns, model.narrowed_sql)
        || format('select from ops.dirty as dirty where dirty.node = %L', model.node)
        || case when is_of_instrument then ' and dirty.instrument_id = rewritten.instrument_id' else '' end
        || case when is_of_timeframe then ' and (dirty.timeframe is null or dirty.timeframe = rewritten.timeframe)' else '' end
        || case when is_timed then ' and rewritten.closed_at between dirty.first_at and dirty.last_at' else '' end
        || ')' || ops.unless_frozen(model.frozen, 'rewritten');

    -- A range that had no rows and has none is nobody's change. One look-up for either kind of range: an index cannot be searched
    -- for "this timeframe or any".
    execute format(
        'insert into ops.change (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete) '
        'select node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete from ops.dirty as dirty '
        'where node = %L and (is_written or timeframe = any (%L::text[])', model.node, aggregated
    ) || (
        select string_agg(
            format(' or (%s and exists (select from %s as written where true', condition.text, model.node)
            || case when is_of_instrument then ' and written.instrument_id = dirty.instrument_id' else '' end
            || case when condition.has_timeframe then ' and written.timeframe = dirty.timeframe' else '' end
            || case when is_timed then ' and written.closed_at between dirty.first_at and dirty.last_at' else '' end
            || '))', '' order by condition.has_timeframe desc
        )
        from (values
            (true, 'dirty.timeframe is not null'),
            (false, case when is_of_timeframe then 'dirty.timeframe is null' else 'true' end)
        ) as condition (has_timeframe, text)
        where is_of_timeframe or not condition.has_timeframe
    ) || ')';
    delete from ops.dirty where node = model.node;
end $$;
comment on function ops.rewrite_dirty(ops.model, bigint) is
'Deletes the dirty rows and computes them again, in place, from inputs narrowed to what they need; publishes what it wrote.';

create function ops.rewrite_difference(model ops.model) returns void language plpgsql as $$
declare
    names constant text[] := ops.columns_of(model.node::regclass);
    columns constant text := array_to_string(names, ', ');
    is_of_session constant boolean := 'session_id' = any (names) and not 'instrument_id' = any (names);
    is_dated constant boolean := is_of_session and 'date' = any (names);
    is_timed constant boolean := not is_of_session and 'closed_at' = any (names);
    instrument_id constant text := case when 'instrument_id' = any (names) or is_of_session then 'instrument_id' else 'null::integer' end;
    timeframe constant text := case when 'timeframe' = any (names) then 'timeframe' else 'null::text' end;
    begins_at constant text := case
        when is_dated then '(date::timestamp at time zone session.timezone)'
        when 'opened_at' = any (names) then 'opened_at'
        else 'closed_at'
    end;
begin
    execute format('create temporary table fresh on commit drop as select %s from (%s) as fresh', columns, model.sql);
    execute format(
        'create temporary table departed on commit drop as select %1$s from %2$s except select %1$s from fresh', columns, model.node
    );
    execute format(
        'create temporary table arrived on commit drop as select %1$s from fresh except select %1$s from %2$s', columns, model.node
    );
    execute format(
        'delete from %s as standing using departed where %s', model.node,
        (select string_agg(format('standing.%1$I = departed.%1$I', name), ' and ') from unnest(model.key) as name)
    );
    execute format('insert into %1$s (%2$s) select %2$s from arrived', model.node, columns);
    -- Whom it concerns: series, a timeframe of all, or the instruments of a session. Of a session's dates those that trade or did,
    -- from the first local midnight on: candles before its open belong to a date as well.
    execute format(
        'insert into ops.change (node, instrument_id, timeframe, first_at, last_at) select %L, %s, %s, %s, %s '
        'from (select * from departed union all select * from arrived) as changed ',
        model.node, instrument_id, timeframe,
        case when is_dated or is_timed then format('min(%s) + interval ''1 microsecond''', begins_at) else '''-infinity''::timestamptz' end,
        case when is_timed then 'max(closed_at)' else '''infinity''::timestamptz' end
    )
        || case when is_of_session then
            'inner join raw.instrument as instrument using (session_id) inner join config.session as session using (session_id) '
        else '' end
        || case when is_dated then 'where changed.opened_at is not null ' else '' end
        || format('group by %s, %s having count(*) > 0', instrument_id, timeframe);
    drop table fresh, departed, arrived;
end $$;
comment on function ops.rewrite_difference(ops.model) is
'For memory `whole`: computes the small table anew, writes and publishes only what differs, so that one more row of configuration does '
'not make everything downstream dirty.';

create function ops.rebuild(model ops.model) returns text[]
-- This process writes what the workers make; with rows to make itself it would leave theirs waiting.
language plpgsql set parallel_leader_participation = off set work_mem = '256MB' as $$
declare
    schema_name constant text := split_part(model.node, '.', 1);
    table_name constant text := split_part(model.node, '.', 2);
    aside constant text := model.node || '__new';
    is_chunked constant boolean := model.chunk_length is not null and ops.engine() <> 'postgres';
    kept text;
    columns text;
begin
    execute format('drop table if exists %s', aside);
    perform set_config('work_mem', coalesce(model.work_mem, '256MB'), true);
    if is_chunked then
        -- Created empty: moving rows into chunks afterwards would write them twice.
        execute format('create table %s as (%s) with no data', aside, model.sql);
        execute format(
            'select create_hypertable(%L, by_range(''closed_at'', %L::interval), create_default_indexes => false)',
            aside, model.chunk_length
        );
        execute format('insert into %s (%s)', aside, model.sql);
    else
        execute format('create table %s as (%s)', aside, model.sql);
    end if;
    if model.frozen is not null and to_regclass(model.node) is not null and exists (select from ops.horizon) then
        -- Frozen rows of what stands take the place of what was computed for them; null where they have no such column.
        kept := format('where not (true %s)', ops.unless_frozen(model.frozen, 'aged'));
        select string_agg(name, ', ') into columns
        from unnest(ops.columns_of(aside::regclass)) as name
        where name = any (ops.columns_of(model.node::regclass));
        execute format('delete from %s as aged %s', aside, kept);
        execute format('insert into %1$s (%2$s) select %2$s from %3$s as aged %4$s', aside, columns, model.node, kept);
    end if;
    execute format('alter table %s add primary key (%s)', aside, array_to_string(model.key, ', '));
    for columns in select unnest(model.indexes) loop
        execute format('create index on %s (%s)', aside, columns);
    end loop;
    execute format('analyze %s%s', aside, ' (' || nullif(array_to_string(model.analyzed, ', '), '') || ')');
    return ops.swap_table(schema_name, table_name, table_name || '__new');
end $$;
comment on function ops.rebuild(ops.model) is
'Builds the table aside, then gives it the name and the views of the old one: readers wait for the swap alone. Returns the views that '
'still read the old table.';

create function ops.record_reading(model ops.model, upto bigint, generated_upto bigint) returns void language sql as $$
    delete from ops.progress where consumer = model.node and parent <> all (model.parents);
    insert into ops.progress as progress (consumer, parent, seq)
    select
        model.node,
        parent,
        case when parent = any (model.generated_by) then least(upto, generated_upto) else upto end
    from unnest(case when model.kind = 'view' then model.generated_by else model.parents end) as parent
    -- Of what generated the SQL only who has compiled it anew can say how far that was read.
    where generated_upto is not null or parent <> all (model.generated_by)
    on conflict (consumer, parent) do update
        set seq = excluded.seq, read_at = excluded.read_at
        where progress.seq < excluded.seq
$$;
comment on function ops.record_reading(ops.model, bigint, bigint) is
'Remembers, in the model''s own transaction, how far each parent was read; parents that it no longer has are forgotten.';

create function ops.record_definition(model ops.model, hash text, is_published boolean default true) returns void language plpgsql as $$
begin
    update ops.model as declared set built_hash = hash, built_at = clock_timestamp() where declared.node = model.node;
    if is_published then
        insert into ops.change (node) values (model.node);
    end if;
end $$;
comment on function ops.record_definition(ops.model, text, boolean) is
'Remembers what a model was built from, and tells those that read it that all of it is new.';

create function ops.foundation_hash(model ops.model) returns text language sql stable as $$
    select case model.kind
        when 'table' then model.definition_hash
        else md5(model.definition_hash || coalesce(
            (select string_agg(built_hash, ' ' order by node) from ops.model as parent where parent.node = any (model.parents)), ''
        ))
    end
$$;
comment on function ops.foundation_hash(ops.model) is
'What built_hash is where the model stands as it is declared: a view is bound to what it reads, and redefined with it.';

create function ops.owed_build(model ops.model) returns text language sql stable as $$
    select case
        when to_regclass(model.node) is null then 'it does not stand'
        when model.engine <> ops.engine() then format('it was declared for %s, and the server is %s', model.engine, ops.engine())
        when model.built_hash is null or (model.kind = 'table' and model.built_hash <> model.definition_hash) then 'its definition changed'
        else (
            select format('%s changed, and it is made of its rows', generating.node)
            from unnest(model.generated_by) as generating (node)
            left join ops.progress on progress.consumer = model.node and progress.parent = generating.node
            where
                progress.seq is null
                or exists (select from ops.change where change.node = progress.parent and change.seq > progress.seq)
            limit 1
        )
    end
$$;
comment on function ops.owed_build(ops.model) is
'Why dbt has to declare the model again before it can be refreshed; null where it has not.';

create function ops.owed_aggregates(of_node text) returns integer language sql stable as $$
    select count(*)::integer from ops.aggregate
    where consumer = of_node and (built_hash is distinct from definition_hash or to_regclass(node) is null)
$$;
comment on function ops.owed_aggregates(text) is 'How many continuous aggregates of a table do not stand as they are defined.';

create view ops.pending as
select
    model.node,
    model.depth,
    model.kind,
    unread.ranges,
    unread.since,
    owed.reason as owed_build,
    failure.attempts as failures,
    failure.message,
    failure.retry_at
from ops.model as model
cross join lateral (
    select count(change.seq)::integer as ranges, min(change.published_at) as since
    from ops.progress
    inner join ops.change on change.node = progress.parent and change.seq > progress.seq
    where progress.consumer = model.node
) as unread
cross join lateral ops.owed_build(model) as owed (reason)
left join ops.refresh_failure as failure on model.node = failure.node
where
    unread.ranges > 0
    or failure.node is not null
    or owed.reason is not null
    or model.built_hash is distinct from ops.foundation_hash(model)
    or ops.owed_aggregates(model.node) > 0;
comment on view ops.pending is 'One row per model that is behind: by how many ranges of its parents, and since when.';
comment on column ops.pending.owed_build is 'Why dbt has to declare it again first; null: the database refreshes it by itself.';
comment on column ops.pending.failures is 'How often in a row its refresh failed, with the last message, and when it is tried again.';

create function ops.readers_of(nodes text[]) returns text[] language sql stable as $$
    with recursive reader as (
        select unnest(nodes) as node
        union
        select model.node from reader inner join ops.model on reader.node = any (model.parents)
    )
    select coalesce(array_agg(node), '{}') from reader
$$;
comment on function ops.readers_of(text[]) is 'The nodes and every model that reads them, directly or through others.';

create function ops.generated_from(nodes text[]) returns text[] language sql stable as $$
    with recursive generated as (
        select unnest(nodes) as node
        union
        select model.node from generated inner join ops.model on generated.node = any (model.generated_by)
    )
    select array_agg(node order by node) from generated
$$;
comment on function ops.generated_from(text[]) is 'The nodes and every model whose SQL is made of their rows, directly or through others.';

create function ops.next_behind(left_out text[]) returns text language sql stable as $$
    select model.node
    from ops.model
    where
        model.node <> all (left_out)
        and (
            exists (
                select from ops.progress
                inner join ops.change on change.node = progress.parent and change.seq > progress.seq
                where progress.consumer = model.node
            )
            or (model.kind = 'view' and model.built_hash is distinct from ops.foundation_hash(model))
            or ops.owed_aggregates(model.node) > 0
        )
    order by model.depth, model.node
    limit 1
$$;
comment on function ops.next_behind(text[]) is 'The first model that is behind its parents, of those that are not left out; null where none is.';

create function ops.record_failure(of_node text, with_sqlstate text, with_message text) returns void language sql as $$
    insert into ops.refresh_failure as failure (node, failed_at, attempts, retry_at, sqlstate, message)
    values (of_node, clock_timestamp(), 1, clock_timestamp() + interval '1 second', with_sqlstate, with_message)
    on conflict (node) do update set
        failed_at = excluded.failed_at,
        attempts = failure.attempts + 1,
        retry_at = clock_timestamp() + least(interval '1 second' * 2 ^ least(failure.attempts, 10), interval '5 minutes'),
        sqlstate = excluded.sqlstate,
        message = excluded.message
$$;
comment on function ops.record_failure(text, text, text) is
'Remembers that a model could not be refreshed; it is due again after a second, then two, four, … at most five minutes.';

create function ops.refresh(
    of_node text, is_full boolean default false, upto bigint default null, generated_upto bigint default null,
    out action text, out reason text, out left_behind text[]
) language plpgsql as $$
declare
    model ops.model;
    hash text;
begin
    -- Chunks in the columnstore are written like others: the default limit would fail a rewrite of more than 100,000 rows.
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    perform ops.lock_node(of_node);
    select declared.* into model from ops.model as declared where declared.node = of_node;
    if not found then
        raise exception 'there is no model %', of_node using hint = 'select node from ops.model lists them; dbt run declares them.';
    end if;
    -- What is published later is for the next one.
    upto := coalesce(upto, (select coalesce(max(seq), 0) from ops.change));

    if generated_upto is null then
        reason := ops.owed_build(model);
        if reason is not null then
            action := 'build owed';
            return;
        end if;
    end if;

    hash := ops.foundation_hash(model);
    reason := case
        when to_regclass(model.node) is null then 'first build'
        when is_full then 'full refresh'
        when model.built_hash is distinct from hash then 'definition changed'
        when model.kind = 'table' and exists (
            select from unnest(model.parents) as known (node)
            where not exists (select from ops.progress where consumer = model.node and progress.parent = known.node)
        ) then 'new parent'
    end;
    action := case when reason is not null then 'rebuild' else 'nothing' end;
    reason := coalesce(reason, 'no change');

    if model.kind = 'view' then
        if action = 'rebuild' then
            perform ops.replace_view(model.node, model.sql);
            perform ops.record_definition(model, hash, is_published => reason <> 'full refresh');
        end if;
    else
        if action = 'rebuild' and reason = 'full refresh' and model.memory = 'whole' and model.built_hash = hash then
            -- Small, and computed anew by difference: what did not change is nobody's change.
            action := 'rewrite';
        elsif action = 'nothing' then
            select
                case
                    when bool_or(change.instrument_id is null and change.timeframe is null) and model.memory <> 'whole' then 'rebuild'
                    when count(*) > 0 then 'rewrite'
                    else 'nothing'
                end
            into action
            from ops.progress
            inner join ops.change on change.node = progress.parent and change.seq > progress.seq
            where progress.consumer = model.node and progress.parent = any (model.parents) and change.seq <= refresh.upto;
            reason := case action when 'rebuild' then 'a parent changed whole' when 'rewrite' then 'changed rows' else reason end;
        end if;
        if action = 'rebuild' then
            left_behind := ops.rebuild(model);
            perform ops.record_definition(model, hash);
        elsif action = 'rewrite' and model.memory = 'whole' then
            perform ops.rewrite_difference(model);
        elsif action = 'rewrite' then
            perform ops.rewrite_dirty(model, upto);
        end if;
    end if;
    perform ops.record_reading(model, upto, generated_upto);
    delete from ops.refresh_failure where node = model.node;
end $$;
comment on function ops.refresh(text, boolean, bigint, bigint) is
'Brings a model up to date with its parents: in place where they changed rows, built anew where all of it changed. In one transaction, '
'under a lock of the model: a second refresh of it waits, and then finds nothing to do. What it returns: action (nothing, rewrite, rebuild, or '
'build owed, where dbt has to declare it first), why, and the views that still read the old table.';

create function ops.build(
    definition jsonb, is_full boolean, generated_upto bigint, upto bigint default null,
    out action text, out reason text, out left_behind text[]
) language plpgsql as $$
begin
    perform ops.lock_node(definition ->> 'node');
    perform ops.define(definition);
    select refreshed.action, refreshed.reason, refreshed.left_behind into action, reason, left_behind
    from ops.refresh(
        definition ->> 'node', is_full, upto,
        coalesce(generated_upto, upto, (select coalesce(max(seq), 0) from ops.change))
    ) as refreshed;
    if reason in ('first build', 'definition changed', 'new parent') then
        delete from ops.project;
    end if;
end $$;
comment on function ops.build(jsonb, boolean, bigint, bigint) is
'What dbt calls: declares a model and refreshes it. generated_upto is the last change that it knew of when it compiled the SQL.';

create function ops.forget_models(known text[]) returns void language sql as $$
    delete from ops.progress where consumer <> all (known);
    delete from ops.model where node <> all (known);
    delete from ops.refresh_failure where node <> all (known);
$$;
comment on function ops.forget_models(text[]) is 'Forgets the models that the project no longer has; their tables stand.';

-- Continuous aggregates ---------------------------------------------------------------------------------------------------------

create function ops.aggregate_horizon() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select max(horizon.horizon_at)
    from ops.horizon as horizon
    inner join raw.instrument as instrument on horizon.instrument_id = instrument.instrument_id
    inner join config.session as session on instrument.session_id = session.session_id
    where session.is_24_7
$$;
comment on function ops.aggregate_horizon() is
'Until when bars of the aggregates are frozen; null where nothing is. It is the latest horizon of the instruments that trade around the '
'clock: the aggregates hold no others, and the loader refuses their candles up to the same one.';

create function ops.refresh_aggregate_sql(aggregate_name text, seconds integer, first_at timestamptz, last_at timestamptz)
returns text language sql stable as $$
    with bound (template) as (
        values (format('time_bucket(interval ''%s seconds'', %%L::timestamptz, "offset" => interval ''1 microsecond'')', seconds))
    )
    select format(
        'call refresh_continuous_aggregate(%L, %s, %s%s)',
        aggregate_name,
        case when first_at is null then 'null' else format(template, first_at) end,
        case when last_at is null then 'null' else format(template, last_at) || format(' + interval ''%s seconds''', seconds) end,
        -- By default every ten buckets are a transaction of their own: thirteen times slower over a month of five minutes.
        case when exists (select from pg_proc where proname = 'refresh_continuous_aggregate' and 'options' = any (proargnames))
            then ', options => ''{"buckets_per_batch": 0}''' else '' end
    )
    from bound
$$;
comment on function ops.refresh_aggregate_sql(text, integer, timestamptz, timestamptz) is
'Refreshes the whole buckets that hold the candles which close in [first_at, last_at]; a bound that is null is open.';

create function ops.is_aggregate_current(aggregate ops.aggregate) returns boolean language plpgsql stable as $$
begin
    return aggregate.built_hash is not distinct from aggregate.definition_hash and exists (
        select from timescaledb_information.continuous_aggregates as standing
        where
            format('%s.%s', standing.view_schema, standing.view_name) = aggregate.node
            and format('%s.%s', standing.hypertable_schema, standing.hypertable_name) = aggregate.source
    );
end $$;
comment on function ops.is_aggregate_current(ops.aggregate) is
'Whether the aggregate stands as it is defined, over the candles that are now called so.';

create function ops.aggregate_statements(of_node text, is_full boolean default false)
returns table (upto bigint, statement text) language plpgsql as $$
declare
    aggregate ops.aggregate;
    aggregate_name text;
    aside text;
    horizon_at timestamptz := ops.aggregate_horizon() + interval '1 microsecond';
    spans tstzmultirange;
    span tstzrange;
begin
    select coalesce(max(seq), 0) into upto from ops.change;
    for aggregate in select * from ops.aggregate where consumer = of_node order by ops.aggregate.seconds loop
        aggregate_name := split_part(aggregate.node, '.', 2);
        if not ops.is_aggregate_current(aggregate) then
            aside := aggregate.node || '__new';
            foreach statement in array array[
                format('select ops.drop_aggregate(%L)', aggregate.node || '__retired'),
                format('drop materialized view if exists %s', aside),
                format(
                    'create materialized view %s with (timescaledb.continuous, timescaledb.materialized_only = true, '
                    'timescaledb.create_group_indexes = false) as %s with no data', aside, aggregate.sql
                ),
                format('create index on %s (instrument_id, closed_at)', aside),
                ops.refresh_aggregate_sql(aside, aggregate.seconds, horizon_at, null),
                format(
                    'select ops.swap_aggregate(%L, %L, %L, %L, %L)',
                    split_part(aggregate.node, '.', 1), aggregate_name, aggregate_name || '__new', aggregate.definition_hash, of_node
                ),
                format('select ops.drop_aggregate(%L)', aggregate.node || '__retired')
            ] loop
                return next;
            end loop;
            continue;
        end if;
        -- No range begins before the horizon of dropped candles: the bars there are frozen, and stand in the table.
        if is_full then
            spans := tstzmultirange(tstzrange(horizon_at, null));
        else
            select range_agg(tstzrange(greatest(change.first_at, horizon_at), change.last_at, '[]')) into spans
            from ops.change as change
            inner join ops.progress as progress on progress.parent = change.node and progress.seq < change.seq
            where
                change.node = aggregate.source
                and progress.consumer = of_node
                and change.seq <= aggregate_statements.upto
                and (horizon_at is null or change.last_at > horizon_at);
        end if;
        for span in select unnest(spans) loop
            statement := ops.refresh_aggregate_sql(
                aggregate.node, aggregate.seconds, nullif(lower(span), '-infinity'), nullif(upper(span), 'infinity')
            );
            return next;
        end loop;
    end loop;
    -- Always the last: up to which change the aggregates are right, when what is before has been executed.
    statement := null;
    return next;
end $$;
comment on function ops.aggregate_statements(text, boolean) is
'What brings the continuous aggregates of a table up to date: statements to be executed one by one, each outside of a transaction, since '
'the server refreshes aggregates in no other way. Every row tells the last change that they account for, which ops.refresh is then '
'called with; the last row has no statement.';

-- Dropping an aggregate locks the table of its candles, which readers have locked before they come to the views over aggregates. So it
-- is done by itself, when nobody reads it by its name any more and nothing else is held.
create function ops.drop_aggregate(aggregate_name text) returns void language plpgsql as $$
begin
    if to_regclass(aggregate_name) is not null then
        perform ops.take_over(aggregate_name, format('select null::text[] from ops.drop_aggregate_now(%L)', aggregate_name));
    end if;
end $$;
comment on function ops.drop_aggregate(text) is 'Drops a continuous aggregate that was replaced, beside readers of its candles.';

create function ops.drop_aggregate_now(aggregate_name text) returns void language plpgsql as $$
begin
    execute format('drop materialized view if exists %s', aggregate_name);
    perform ops.drop_retired();
end $$;
comment on function ops.drop_aggregate_now(text) is 'One attempt of ops.drop_aggregate.';

-- Who waits in a circle with others for deadlock_timeout is shot, and that shall be no reader. So once something is locked that readers
-- want, all further waits together are shorter than that.
create or replace function ops.lock_view(view_oid oid) returns void language plpgsql as $$
declare
    owner_oid oid := (select relowner from pg_class where oid = lock_view.view_oid);
    patience constant interval := current_setting('lock_timeout')::interval;
begin
    -- `lock table` would take everything that the view reads along. One of a role that is not ours can only be left as it is.
    if pg_has_role(owner_oid, 'usage') then
        execute format('alter view %s owner to %I', view_oid::regclass, pg_get_userbyid(owner_oid));
        if patience > interval '0' then
            perform ops.wait_for_locks_at_most(least(patience / 2, current_setting('deadlock_timeout')::interval * 0.4));
        end if;
    end if;
end $$;

create or replace function ops.swap_aggregate_now(schema_name text, aggregate_name text, new_name text, hash text, publisher text)
returns void language plpgsql as $$
declare
    target text := format('%I.%I', schema_name, aggregate_name);
    view_names text[];
    definitions text[];
begin
    if to_regclass(target) is null then
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
    else
        perform ops.lock_views_over(target::regclass);
        select array_agg(view_name), array_agg(definition) into view_names, definitions
        from ops.dependent_views(target::regclass);
        execute format('alter materialized view %s rename to %I', target, aggregate_name || '__retired');
        execute format('alter materialized view %I.%I rename to %I', schema_name, new_name, aggregate_name);
        for number in 1 .. coalesce(cardinality(view_names), 0) loop
            execute format('create or replace view %s as %s', view_names[number], definitions[number]);
        end loop;
    end if;
    update ops.aggregate set built_hash = hash where node = schema_name || '.' || aggregate_name;
    insert into ops.change (node) values (publisher);
    perform ops.drop_retired();
end $$;

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema ops to titan_reader;
    end if;
end $$;
