{#-
  The project's view: created or replaced in place, never dropped under those who read it, and left alone while neither its
  SQL nor what it stands on was redefined. A redefined view is a change like any other for the tables behind it.
-#}
{% materialization view, adapter='postgres' %}
  {% set target_relation = this.incorporate(type='view') %}
  {% set node = this.schema ~ '.' ~ this.identifier %}
  {% set parents = feed_parents() %}
  {% do refuse_other_type(target_relation) %}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {% call statement('foundations', fetch_result=true) %}
    select coalesce(string_agg(definition_hash, ' ' order by node), '')
    from ops.definition
    where node = any (array[{{ feed_names(parents) }}]::text[])
  {% endcall %}
  {% set definition_hash = local_md5(sql ~ load_result('foundations').table.rows[0][0]) %}
  {% set plan = feed_plan(node, parents, definition_hash) %}
  {% if plan.reason in ['first build', 'full refresh', 'definition changed'] %}
    {% call statement('main') %}
      {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
      select ops.replace_view('{{ node }}', $view${{ sql }}$view$);
    {% endcall %}
    {% if plan.reason != 'full refresh' %}
      {% call statement('redefined') %}
        {{ feed_redefined(node, definition_hash) }}
      {% endcall %}
    {% endif %}
  {% else %}
    {% call statement('main') %}
      select 'unchanged'
    {% endcall %}
  {% endif %}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
