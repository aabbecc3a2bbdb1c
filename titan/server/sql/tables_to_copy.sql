-- Plain tables of that size, largest first, whose values all have a binary form: name and columns. None with TimescaleDB.
select
    format('%%s.%%s', namespace.nspname, relation.relname) as relation,
    array_agg(attribute.attname::text order by attribute.attnum) filter (where attribute.attgenerated = '') as columns
from pg_class as relation
inner join pg_namespace as namespace on relation.relnamespace = namespace.oid
inner join pg_attribute as attribute on relation.oid = attribute.attrelid
inner join pg_type as type on attribute.atttypid = type.oid
left join pg_type as element on type.typelem = element.oid
where
    relation.relkind = 'r'
    and not relation.relispartition
    and not relation.relhassubclass
    and relation.relpersistence = 'p'
    and pg_table_size(relation.oid) >= %(least)s
    and attribute.attnum > 0
    and not attribute.attisdropped
    and not starts_with(namespace.nspname, 'pg_')
    and namespace.nspname <> 'information_schema'
    and not exists (
        select from pg_extension as installed
        where installed.extname = 'timescaledb'
    )
group by relation.oid, namespace.nspname, relation.relname
having bool_and(type.typsend <> 0 and coalesce(element.typsend, type.typsend) <> 0)
order by pg_table_size(relation.oid) desc
