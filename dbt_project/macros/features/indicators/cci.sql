{#- A mean absolute deviation has to be taken anew at every bar: the one kernel here whose cost grows with its period. -#}
{% macro indicator_cci(program) %}
  {% set period = parameter(program, 'period', most=200) %}
  {% do about(program, 'cci', ['fct_indicators'], 'Lambert (1980); TA-Lib CCI') %}
  {% set mean = window_mean(program, 'typical_price', period) %}
  {% set deviation = window_deviation(program, 'typical_price', period, mean) %}
  {% do feature(program, 'cci_' ~ period, 'coalesce((typical_price - ' ~ mean ~ ') / nullif(0.015::float8 * ' ~ deviation ~ ', 0), 0)',
    ['typical_price', mean, deviation], '(typical price - mean) / (0.015 * mean absolute deviation); 0 where all are equal', 'deviations',
    first=period, window=period) %}
{% endmacro %}
