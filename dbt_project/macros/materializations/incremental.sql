{#-
  The project's table: rebuilt aside and swapped in, or rewritten in place where the change feed says so, always in one
  transaction. It replaces dbt's own `incremental`, which copies through a temporary table and drops dependent views.

  memory     what a change of an input makes dirty (feed_dirty)
  key        the columns of the primary key
  bucket     which rows a parent's change concerns, if not those of its own series and time (feed_bucket)
  indexes    lists of columns to index beside the key
  frozen     which rows stay as they are once the candles before a horizon are gone (unless_frozen)
  analyze    the columns that a full build takes statistics of, if not all: autovacuum comes to the others
  work_mem   of a full build, 256MB if left out
  hypertable on TimescaleDB: the length of a chunk of closed_at, as an interval; a plain table if left out
-#}
{% materialization incremental, adapter='postgres' %}
  {{ return(build_incremental()) }}
{% endmaterialization %}


{#- upto: the last change to account for, where something beside the table was prepared for those until then. -#}
{% macro build_incremental(upto=none) %}
  {% set target_relation = this.incorporate(type='table') %}
  {% set node = this.schema ~ '.' ~ this.identifier %}
  {% set memory = config.require('memory') %}
  {% set parents = feed_parents() %}
  {% set definition_hash = local_md5([sql, memory, config.require('key'), config.get('bucket'), config.get('indexes'), config.get('hypertable')] | string) %}
  {% do refuse_other_type(target_relation) %}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {% set plan = feed_plan(node, parents, definition_hash, upto) %}
  {% if plan.action == 'rebuild' %}
    {{ rebuild_table(target_relation, node, sql, definition_hash) }}
  {% elif plan.action == 'rewrite' and memory == 'whole' %}
    {{ rewrite_difference(target_relation, node, sql, plan) }}
  {% elif plan.action == 'rewrite' %}
    {{ rewrite_dirty(target_relation, node, sql, memory, plan) }}
  {% endif %}
  {% call statement('main' if plan.action == 'nothing' else 'record') %}
    {{ feed_record(node, parents, plan.upto) }}
  {% endcall %}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target_relation]}) }}
{% endmacro %}


{#- A name that holds the other kind of relation is not ours to drop: somebody may read it. -#}
{% macro refuse_other_type(relation) %}
  {% set existing = load_cached_relation(relation) %}
  {% if existing is not none and existing.type != relation.type %}
    {% do exceptions.raise_compiler_error(
      relation.render() ~ ' exists as a ' ~ existing.type ~ ' and is now to be a ' ~ relation.type
      ~ ': drop it yourself, then build again') %}
  {% endif %}
{% endmacro %}
