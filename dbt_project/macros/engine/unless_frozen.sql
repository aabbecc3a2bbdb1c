{#-
  A condition that leaves out the rows of a model that can no longer be computed, since the candles they were made of are gone
  (ops.horizon). A model says by `frozen` which those are: `all` its rows up to the horizon, or those of the `base` timeframe.
-#}
{% macro unless_frozen(row) %}
  {% if config.get('frozen') %}
    and not exists (
      select from ops.horizon as horizon
      where
        horizon.instrument_id = {{ row }}.instrument_id
        and horizon.horizon_at >= {{ row }}.closed_at
        {% if config.get('frozen') == 'base' %}and horizon.timeframe = {{ row }}.timeframe{% endif %}
    )
  {% endif %}
{% endmacro %}


{#- Puts the frozen rows of the standing table in the place of what was computed for them; null where they have no such column. -#}
{% macro keep_frozen(relation, aside) %}
  {% if config.get('frozen') and load_cached_relation(relation) is not none
    and run_query('select exists (select from ops.horizon)').rows[0][0] %}
    {% set standing = adapter.get_columns_in_relation(relation) | map(attribute='quoted') | list %}
    {% set columns = [] %}
    {% for column in adapter.get_columns_in_relation(aside) if column.quoted in standing %}
      {% do columns.append(column.quoted) %}
    {% endfor %}
    {% call statement('keep_frozen') %}
      delete from {{ aside }} as aged where not (true {{ unless_frozen('aged') }});
      insert into {{ aside }} ({{ columns | join(', ') }})
      select {{ columns | join(', ') }} from {{ relation }} as aged where not (true {{ unless_frozen('aged') }});
    {% endcall %}
  {% endif %}
{% endmacro %}


{#- Where a walk begins: what lies before a horizon stays as it is. -#}
{% macro first_not_frozen() -%}
greatest(first_at, (
    select horizon.horizon_at from ops.horizon as horizon
    where horizon.instrument_id = series_instrument and horizon.timeframe = series_timeframe
  ))
{%- endmacro %}
