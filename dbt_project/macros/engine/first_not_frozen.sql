{#- Where a walk begins: what lies before a horizon stays as it is. -#}
{% macro first_not_frozen() -%}
greatest(first_at, (
    select horizon.horizon_at from ops.horizon as horizon
    where horizon.instrument_id = series_instrument and horizon.timeframe = series_timeframe
  ))
{%- endmacro %}
