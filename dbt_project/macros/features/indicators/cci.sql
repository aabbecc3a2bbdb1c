{#- A mean absolute deviation has to be taken anew at every bar: the one kernel here whose cost grows with its period. -#}
{% macro indicator_cci(program) %}
  {% set period = parameter(program, 'period', most=200) %}
  {% do about(program, 'cci', ['fct_indicators'], 'Lambert (1980); TA-Lib CCI') %}
  {% do bar_value(program, 'typical_price') %}
  {% set window = window_distances(program, 'typical_price', period) %}
  {#- Typical prices that are equal may differ by the rounding of their sum: no market's prices do by so little. #}
  {% do feature(program, 'cci_' ~ period,
    'case when ' ~ window.deviation ~ ' > 1e-15::float8 * close then -' ~ window.offset ~ ' / (0.015::float8 * ' ~ window.deviation ~ ') else 0 end',
    [window.offset, window.deviation], '(typical price - mean) / (0.015 * mean absolute deviation); 0 where all are equal', 'deviations',
    first=period, window=period) %}
{% endmacro %}
