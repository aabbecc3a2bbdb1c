{#- Deletes the dirty rows and computes them again, in place, from inputs narrowed to what they need. -#}
{% macro rewrite_dirty(relation, node, sql, memory, upto) %}
  {% set key = config.require('key') %}
  {% set columns = adapter.get_columns_in_relation(relation) | map(attribute='quoted') | join(', ') %}
  {% set timeframe = config.get('timeframe') %}
  {% call statement('dirty') %}
    {{ feed_dirty(node, memory, upto) }}
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
        {% if 'timeframe' in key and not timeframe and memory != 'cross_section' %}
        and (dirty.timeframe is null or dirty.timeframe = rewritten.timeframe)
        {% endif %}
        {% if 'closed_at' in key %}and rewritten.closed_at between dirty.first_at and dirty.last_at{% endif %}
    )
  {% endcall %}
  {% call statement('publish') %}
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
    select
      '{{ node }}',
      instrument_id,
      {{ "'" ~ timeframe ~ "'" if timeframe else 'timeframe' }},
      first_at,
      last_at,
      is_insert_or_delete
    from ops.dirty
    where node = '{{ node }}';
    delete from ops.dirty where node = '{{ node }}';
  {% endcall %}
{% endmacro %}


{#- One delete per range, with literals: joined to ops.dirty it would hash the whole table, and literals prune chunks. -#}
{% macro delete_dirty(relation, node, key, memory) %}
  do $delete$
  declare
    dirty record;
  begin
    for dirty in select * from ops.dirty where node = '{{ node }}' loop
      execute format(
        'delete from {{ relation }} where true'
        {% if memory != 'cross_section' %}|| ' and instrument_id = %1$L'{% endif %}
        {% if 'timeframe' in key and not config.get('timeframe') and memory != 'cross_section' %}
        || case when dirty.timeframe is not null then ' and timeframe = %2$L' else '' end
        {% endif %}
        {% if 'closed_at' in key %}|| ' and closed_at between %3$L and %4$L'{% endif %},
        dirty.instrument_id, dirty.timeframe, dirty.first_at, dirty.last_at
      );
    end loop;
  end $delete$
{% endmacro %}
