{#- The model's SQL with every marked input narrowed to the rows in ops.dirty and the rows that precede them. -#}
{% macro feed_inputs(sql, node, memory) %}
  {% set series = "[(]select [*], timestamptz '-infinity' as first_at from ([a-z_]+)[)] /[*] feed series [*]/" %}
  {% set marked = '([^ \n]+) /[*] feed preceding=([0-9]+)(?: timeframe=([^ ]+))? [*]/' %}
  {% if 'closed_at' in config.require('key') and not modules.re.search(marked ~ '|' ~ series, sql) %}
    {% do exceptions.raise_compiler_error(node ~ ' marks no input with feed(): every build would read all of them') %}
  {% endif %}
  {% set sql = modules.re.sub(series, feed_dirty_series(node), sql) %}
  {% set rendered = [] %}
  {% set position = namespace(at=0) %}
  {% for input in modules.re.finditer(marked, sql) %}
    {% do rendered.append(sql[position.at:input.start()]) %}
    {% do rendered.append(feed_input(input.group(1), input.group(2) | int, input.group(3), node, memory)) %}
    {% set position.at = input.end() %}
  {% endfor %}
  {% do rendered.append(sql[position.at:]) %}
  {% do return(rendered | join('')) %}
{% endmacro %}


{#- The dirty series, each with its beginning; the name of all series stands where the pattern found it. -#}
{% macro feed_dirty_series(node) -%}
  (
    select every.*, dirty.first_at
    from ops.dirty as dirty
    inner join \1 as every
      on dirty.instrument_id = every.instrument_id and (dirty.timeframe is null or dirty.timeframe = every.timeframe)
    where dirty.node = '{{ node }}'
  )
{%- endmacro %}


{#-
  One narrowed input. Each branch is a lateral index read, kept one by `offset 0`: the planner takes a range that it cannot see
  for a ninth of a series, and would as soon merge the dirty rows with the whole relation.
-#}
{% macro feed_input(relation, preceding, timeframe, node, memory) %}
  {% if preceding and memory not in ['recursive', 'interval'] %}
    {% do exceptions.raise_compiler_error(
      node ~ ': preceding rows need memory recursive or interval, where a series has one dirty range') %}
  {% endif %}
  (
    {% if memory == 'cross_section' %}
    select input.*
    from ops.dirty as dirty
    inner join {{ relation }} as input on input.closed_at between dirty.first_at and dirty.last_at
    where dirty.node = '{{ node }}'
    {% else %}
    select input.*
    from ops.dirty as dirty
    cross join lateral (
      select dirty_row.* from {{ relation }} as dirty_row
      where
        dirty_row.instrument_id = dirty.instrument_id
        and dirty_row.timeframe = dirty.timeframe
        and dirty_row.closed_at between dirty.first_at and dirty.last_at
      {% if preceding %}
      union all
      (
        select earlier.* from {{ relation }} as earlier
        where
          earlier.instrument_id = dirty.instrument_id
          and earlier.timeframe = dirty.timeframe
          and earlier.closed_at < dirty.first_at
        order by earlier.closed_at desc
        limit {{ preceding }}
      )
      {% endif %}
      offset 0
    ) as input
    where
      dirty.node = '{{ node }}'
      and {{ 'dirty.timeframe = ' ~ timeframe if timeframe else 'dirty.timeframe is not null' }}
    union all
    select input.*
    from ops.dirty as dirty
    cross join lateral (
      select dirty_row.* from {{ relation }} as dirty_row
      where
        dirty_row.instrument_id = dirty.instrument_id
        and dirty_row.closed_at between dirty.first_at and dirty.last_at
        {% if timeframe %}and dirty_row.timeframe = {{ timeframe }}{% endif %}
      offset 0
    ) as input
    where dirty.node = '{{ node }}' and dirty.timeframe is null
    {% endif %}
  )
{% endmacro %}
