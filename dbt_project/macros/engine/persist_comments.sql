{#-
  After a run: what models and columns are said to be becomes the comments of what stands, where persist_docs asks for it. dbt's own way
  would be to comment on what it has just built, and tables stand for months: a description that is edited would never arrive. Each
  model's comments are compared as one hash; where they are as they should be, and that is nearly always, nothing more is done.
-#}
{% macro persist_comments() %}
  {% if execute and flags.WHICH in ['run', 'build'] %}
    {% set described = {} %}
    {% for model in graph.nodes.values() if model.resource_type == 'model' and model.config.persist_docs.get('relation') %}
      {% set told = [' ' ~ model.description] if model.description else [] %}
      {% for column in model.columns.values() if column.description %}
        {% do told.append(column.name ~ ' ' ~ column.description) %}
      {% endfor %}
      {% if told %}
        {% set hash = local_md5(told | sort(case_sensitive=true) | join('\n')) %}
        {% do described.update({model.schema ~ '.' ~ model.alias: {'model': model, 'hash': hash}}) %}
      {% endif %}
    {% endfor %}
    {% for row in (run_query(uncommented(described)).rows if described else []) %}
      {% set model = described[row['name']].model %}
      {% set relation = api.Relation.create(model.database, model.schema, model.alias, type=row['type']) %}
      {% do run_query(alter_relation_comment(relation, model.description)) %}
      {% set of_columns = alter_column_comment(relation, model.columns) %}
      {% if of_columns | trim %}{% do run_query(of_columns) %}{% endif %}
      {#- Each by itself: who held several would be in a circle with a build that swaps them. #}
      {% do adapter.commit() %}
    {% endfor %}
  {% endif %}
{% endmacro %}


{#- Which of them stand, are ours to comment on, and have other comments than those with the hash: (name, type). -#}
{% macro uncommented(described) %}
select described.name, case class.relkind when 'v' then 'view' else 'table' end as type
from (values
  {% for name, one in described.items() %}('{{ name }}', '{{ one.hash }}'){{ ', ' if not loop.last }}{% endfor %}
) as described (name, hash)
inner join pg_class as class on to_regclass(described.name) = class.oid and pg_has_role(class.relowner, 'usage')
cross join lateral (
  select md5(string_agg(
    concat(attribute.attname, ' ', comment.description), e'\n'
    order by concat(attribute.attname, ' ', comment.description) collate "C"
  )) as hash
  from pg_description as comment
  left join pg_attribute as attribute
    on comment.objoid = attribute.attrelid and comment.objsubid = attribute.attnum and attribute.attnum > 0
  where comment.objoid = class.oid and comment.classoid = 'pg_class'::regclass
) as standing
where standing.hash is distinct from described.hash
order by described.name
{% endmacro %}
