{#-
  The columns are the key of the relation. On a table the database vouches for it, and reading its catalog is enough; on a view
  the rows are counted.
-#}
{% test primary_key(model, columns) %}
{% set relation = load_relation(model) %}
{% if relation is not none and relation.is_table %}
select 'the primary key is not ({{ columns | join(", ") }})' as fault
where not exists (
    select from pg_constraint as key_constraint
    where
        key_constraint.conrelid = '{{ model.schema }}.{{ model.identifier }}'::regclass
        and key_constraint.contype = 'p'
        and (
            select array_agg(attribute.attname::text order by key_column.position)
            from unnest(key_constraint.conkey) with ordinality as key_column (number, position)
            inner join pg_attribute as attribute
                on attribute.attrelid = key_constraint.conrelid and attribute.attnum = key_column.number
        ) = array[{% for column in columns %}'{{ column }}'{{ ', ' if not loop.last }}{% endfor %}]
)
{% else %}
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endif %}
{% endtest %}
