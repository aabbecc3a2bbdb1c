{#- Builds the table aside, then gives it the name and the views of the old one. Readers wait for the swap alone. -#}
{% macro rebuild_table(relation, node, sql, definition_hash) %}
  {% set aside = relation.incorporate(path={'identifier': relation.identifier ~ '__new'}) %}
  {% call statement('clear') %}
    drop table if exists {{ aside }};
  {% endcall %}
  {% set hypertable = config.get('hypertable') if engine() != 'postgres' %}
  {% if hypertable %}
    {#- Created empty: moving rows into chunks afterwards would write them twice. -#}
    {% call statement('hypertable', fetch_result=true) %}
      create table {{ aside }} as ({{ sql }}) with no data;
      select create_hypertable('{{ aside }}', by_range('closed_at', interval '{{ hypertable }}'), create_default_indexes => false);
    {% endcall %}
  {% endif %}
  {% call statement('memory') %}
    set local work_mem = '{{ config.get("work_mem", "256MB") }}';
    {#- This process writes what the workers make; with rows to make itself it would leave theirs waiting. #}
    set local parallel_leader_participation = off;
  {% endcall %}
  {% call statement('main') %}
    {% if hypertable %}insert into {{ aside }}{% else %}create table {{ aside }}{% endif %}
    {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    {% if not hypertable %}as {% endif %}(
      {{ sql }}
    );
  {% endcall %}
  {% do keep_frozen(relation, aside) %}
  {% call statement('key') %}
    alter table {{ aside }} add primary key ({{ config.require('key') | join(', ') }});
    {% for columns in config.get('indexes', []) %}
    create index on {{ aside }} ({{ columns | join(', ') }});
    {% endfor %}
    analyze {{ aside }}{% if config.get('analyze') %} ({{ config.get('analyze') | join(', ') }}){% endif %};
  {% endcall %}
  {% call statement('swap', fetch_result=true) %}
    select unnest(ops.swap_table('{{ relation.schema }}', '{{ relation.identifier }}', '{{ aside.identifier }}'))
  {% endcall %}
  {% for left_behind in load_result('swap').table.rows %}
    {% do exceptions.warn(
      left_behind[0] ~ ' still shows the previous table of ' ~ node ~ ': it cannot read the new columns, or belongs to a role'
      ~ ' that the build may not act for; it does until it is redefined') %}
  {% endfor %}
  {% call statement('redefined') %}
    {{ feed_redefined(node, definition_hash) }}
  {% endcall %}
{% endmacro %}
