{#-
  Functions that a model calls. Each is named by its text: another text is another function, and a new definition of the model, which the
  change feed rebuilds. `definition` creates it under the name `prefix`.
-#}
{% macro function_name(prefix, definition) -%}
{{ this.schema }}.{{ prefix }}_{{ local_md5(without_database(definition))[:12] }}
{%- endmacro %}


{#- A database may be copied, restored under another name or renamed: what is kept in it does not name it. -#}
{% macro without_database(sql) %}{{ return(sql | replace('"' ~ this.database ~ '".', '')) }}{% endmacro %}


{#- Creates the function if it is not there, and drops those that it replaces. Before the model, in its transaction. -#}
{% macro create_function(prefix, definition) %}
  {% set name = function_name(prefix, definition) %}
  {% if execute and not run_query("select to_regproc('" ~ name ~ "') is not null").rows[0][0] %}
    select ops.lock_node('{{ this.schema }}.{{ this.identifier }}');
    {{ without_database(definition) | replace('create or replace function ' ~ prefix ~ '(', 'create or replace function ' ~ name ~ '(') }};
    do $drop$
    declare
      replaced regprocedure;
    begin
      for replaced in
        select oid::regprocedure from pg_proc
        where
          pronamespace = '{{ this.schema }}'::regnamespace
          and proname ~ '^{{ prefix }}_[0-9a-f]{12}$'
          and oid <> to_regproc('{{ name }}')
      loop
        execute format('drop function %s', replaced);
      end loop;
    end $drop$;
  {% endif %}
{% endmacro %}
