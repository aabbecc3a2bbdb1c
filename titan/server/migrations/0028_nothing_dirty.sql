-- What a change grew to may be nothing, as a minute is to a month that is not over: then nothing is planned, read or written.
create or replace function ops.rewrite_dirty(model ops.model, upto bigint) returns void
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
    get diagnostics affected = row_count;
    if affected = 0 then
        return;
    end if;

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
