{#-
  The project's table. dbt says what the model is; the database builds it, or brings it up to date by the change feed (ops.build,
  docs/change_feed.md). It replaces dbt's own `incremental`, which copies through a temporary table and drops dependent views.

  memory     what a change of an input makes dirty (ops.dirty_sql)
  key        the columns of the primary key
  bucket     which rows a parent's change concerns, if not those of its own series and time (feed_bucket)
  indexes    lists of columns to index beside the key
  frozen     which rows stay as they are once the candles before a horizon are gone (ops.unless_frozen)
  analyze    the columns that a full build takes statistics of, if not all: autovacuum comes to the others
  work_mem   of a full build, 256MB if left out
  hypertable on TimescaleDB: the length of a chunk of closed_at, as an interval; a plain table if left out
-#}
{% materialization incremental, adapter='postgres' %}
  {{ return(build_model('table', model_definition('table'))) }}
{% endmaterialization %}


{#- What ops.build needs to know of the model: an object with the columns of ops.model. -#}
{% macro model_definition(kind) %}
  {% set definition = {
    'node': this.schema ~ '.' ~ this.identifier, 'kind': kind, 'sql': sql,
    'parents': feed_parents(), 'generated_by': generating_parents()
  } %}
  {% if kind == 'table' %}
    {% set bucket = config.get('bucket') %}
    {% set indexes = [] %}
    {% for columns in config.get('indexes', []) %}{% do indexes.append(columns | join(', ')) %}{% endfor %}
    {% do definition.update({
      'memory': config.require('memory'), 'key': config.require('key'), 'bucket': bucket,
      'widened_sql': feed_bucket(bucket, definition.node) if bucket else none, 'indexes': indexes,
      'frozen': config.get('frozen'), 'analyzed': config.get('analyze'), 'work_mem': config.get('work_mem'),
      'chunk_length': config.get('hypertable')
    }) %}
  {% endif %}
  {{ return(definition) }}
{% endmacro %}


{#- upto: the last change to account for, where something beside the table was prepared for those until then. -#}
{% macro build_model(kind, definition, upto=none) %}
  {% set relation = this.incorporate(type=kind) %}
  {% do refuse_other_type(relation) %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% if config.get('contract').enforced %}{% set checked = get_assert_columns_equivalent(sql) %}{% endif %}
  {% call statement('main', fetch_result=true) %}
    select action, reason, array_to_string(left_behind, ' ') as left_behind
    from ops.build(
      $definition${{ tojson(definition) }}$definition$, {{ should_full_refresh() }}, {{ generated_upto() }}, {{ upto if upto is not none else 'null' }}
    )
  {% endcall %}
  {% set done = load_result('main').table.rows[0] %}
  {% for view in (done['left_behind'] or '').split() %}
    {% do exceptions.warn(
      view ~ ' still shows the previous table of ' ~ definition.node ~ ': it cannot read the new columns, or belongs to a role'
      ~ ' that the build may not act for; it does until it is redefined') %}
  {% endfor %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
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
