{#- Deletes the dirty rows and computes them again, in place, from inputs narrowed to what they need. -#}
{% macro rewrite_dirty(relation, node, sql, memory, plan) %}
  {% set key = config.require('key') %}
  {% set columns = '"' ~ plan.names | join('", "') ~ '"' %}
  {% call statement('dirty') %}
    {#- A range that the planner cannot see is taken for a large part of the relation; it is a small one, read by index. #}
    set local random_page_cost = 1.1;
    {{ feed_dirty(node, memory, plan.upto) }}
  {% endcall %}
  {% call statement('delete_dirty') %}
    {{ delete_dirty(relation, node, key, memory) }}
  {% endcall %}
  {% call statement('main') %}
    insert into {{ relation }} ({{ columns }})
    select {{ columns }}
    from (
      {{ feed_inputs(sql, node, memory) }}
    ) as rewritten
    where exists (
      select from ops.dirty as dirty
      where
        dirty.node = '{{ node }}'
        {% if memory != 'cross_section' %}and dirty.instrument_id = rewritten.instrument_id{% endif %}
        {% if 'timeframe' in key and memory != 'cross_section' %}
        and (dirty.timeframe is null or dirty.timeframe = rewritten.timeframe)
        {% endif %}
        {% if 'closed_at' in key %}and rewritten.closed_at between dirty.first_at and dirty.last_at{% endif %}
    )
    {{ unless_frozen('rewritten') }}
  {% endcall %}
  {% call statement('publish') %}
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
    select
      '{{ node }}',
      instrument_id,
      timeframe,
      first_at,
      last_at,
      is_insert_or_delete
    from ops.dirty as dirty
    where
      node = '{{ node }}'
      {#- A range that had no rows and has none is nobody's change. #}
      and (
        is_written
        {% if config.get('materialized') == 'rollup' and engine() == 'community' %}
        or timeframe in ('{{ aggregate_timeframes() | join("', '") }}')
        {% endif %}
        {#- One look-up for either kind of range: an index cannot be searched for "this timeframe or any". #}
        {% set of_timeframe = 'timeframe' in key and memory != 'cross_section' %}
        {% for has_timeframe in ([true, false] if of_timeframe else [false]) %}
        or {% if of_timeframe %}dirty.timeframe is {{ 'not ' if has_timeframe }}null and {% endif %}exists (
          select from {{ relation }} as written
          where
            true
            {% if memory != 'cross_section' %}and written.instrument_id = dirty.instrument_id{% endif %}
            {% if has_timeframe %}and written.timeframe = dirty.timeframe{% endif %}
            {% if 'closed_at' in key %}and written.closed_at between dirty.first_at and dirty.last_at{% endif %}
        )
        {% endfor %}
      );
    delete from ops.dirty where node = '{{ node }}';
  {% endcall %}
{% endmacro %}


{#- One delete per range, with literals: joined to ops.dirty it would hash the whole table, and literals prune chunks. -#}
{% macro delete_dirty(relation, node, key, memory) %}
  do $delete$
  declare
    range record;
    deleted bigint;
  begin
    for range in select ctid as place, * from ops.dirty where node = '{{ node }}' loop
      execute format(
        'delete from {{ relation }} as standing where true'
        {% if memory != 'cross_section' %}|| ' and instrument_id = %1$L'{% endif %}
        {% if 'timeframe' in key and memory != 'cross_section' %}
        || case when range.timeframe is not null then ' and timeframe = %2$L' else '' end
        {% endif %}
        {% if 'closed_at' in key %}|| ' and closed_at between %3$L and %4$L'{% endif %}
        || $frozen${{ unless_frozen('standing') }}$frozen$,
        range.instrument_id, range.timeframe, range.first_at, range.last_at
      );
      get diagnostics deleted = row_count;
      if deleted > 0 then
        update ops.dirty set is_written = true where ctid = range.place;
      end if;
    end loop;
  end $delete$
{% endmacro %}
