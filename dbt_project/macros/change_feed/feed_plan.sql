{#-
  What a build of this node has to do, as {action, upto, reason, names}. Called first in the model's transaction, under a lock of
  the node: a second build of it waits.

  action  `rebuild` from everything, `rewrite` the dirty rows, or `nothing`.
  upto    the last change that this build accounts for: what is published later is for the next one.
  names   the columns that the table has; none if there is no table yet.
-#}
{% macro feed_plan(node, parents, definition_hash, upto=none) %}
  {% call statement('feed_plan', fetch_result=true) %}
    {#- Chunks in the columnstore are written like others: the default limit would fail a rewrite of more than 100,000 rows. #}
    set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
    select ops.lock_node('{{ node }}');
    with parent as (
      select unnest(array[{{ feed_names(parents) }}]::text[]) as node
    ),
    pending as (
      select
        change.instrument_id,
        change.timeframe
      from parent
      inner join ops.progress as progress on progress.consumer = '{{ node }}' and progress.parent = parent.node
      inner join ops.change as change on change.node = parent.node and change.seq > progress.seq
    )
    select
      {% if upto is none %}(select coalesce(max(seq), 0) from ops.change){% else %}{{ upto }}{% endif %} as upto,
      to_regclass('{{ node }}') is null as is_missing,
      (
        select string_agg(attname, ' ' order by attnum) from pg_attribute
        where attrelid = to_regclass('{{ node }}') and attnum > 0 and not attisdropped
      ) as names,
      not exists (
        select from ops.definition where node = '{{ node }}' and definition_hash = '{{ definition_hash }}'
      ) as is_redefined,
      exists (
        select from parent where not exists (
          select from ops.progress where consumer = '{{ node }}' and progress.parent = parent.node
        )
      ) as has_new_parent,
      exists (select from pending) as has_changes,
      exists (select from pending where instrument_id is null and timeframe is null) as is_everything
  {% endcall %}
  {% set found = load_result('feed_plan').table.rows[0] %}
  {% set names = (found['names'] or '').split() %}
  {% set plan = {'upto': found['upto'], 'names': names, 'action': 'nothing', 'reason': 'no change'} %}
  {% if found['is_missing'] %}{% do plan.update(action='rebuild', reason='first build') %}
  {% elif should_full_refresh() %}{% do plan.update(action='rebuild', reason='full refresh') %}
  {% elif found['is_redefined'] %}{% do plan.update(action='rebuild', reason='definition changed') %}
  {% elif found['has_new_parent'] %}{% do plan.update(action='rebuild', reason='new parent') %}
  {% elif found['is_everything'] and config.require('memory') != 'whole' %}
    {% do plan.update(action='rebuild', reason='a parent changed whole') %}
  {% elif found['has_changes'] %}{% do plan.update(action='rewrite', reason='changed rows') %}
  {% endif %}
  {% do return(plan) %}
{% endmacro %}
