{#- Remembers, in the model's own transaction, how far each parent was read; parents that it no longer has are forgotten. -#}
{% macro feed_record(node, parents, upto) %}
  delete from ops.progress
  where consumer = '{{ node }}' and parent <> all (array[{{ feed_names(parents) }}]::text[]);
  insert into ops.progress as progress (consumer, parent, seq)
  select '{{ node }}', parent, {{ upto }}
  from unnest(array[{{ feed_names(parents) }}]::text[]) as parent
  on conflict (consumer, parent) do update
    set seq = greatest(progress.seq, excluded.seq), read_at = excluded.read_at
    where progress.seq < excluded.seq;
{% endmacro %}


{#- Remembers what the node was built from, and tells its consumers that all of it is new. -#}
{% macro feed_redefined(node, definition_hash) %}
  insert into ops.definition (node, definition_hash) values ('{{ node }}', '{{ definition_hash }}')
  on conflict (node) do update
    set definition_hash = excluded.definition_hash, defined_at = excluded.defined_at;
  insert into ops.change (node) values ('{{ node }}');
{% endmacro %}


{% macro feed_names(names) -%}
  {% for name in names %}'{{ name }}'{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
