{% macro indicator_sma(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'sma', ['fct_indicators'], 'TA-Lib SMA', nulls='until the window is full') %}
  {% set mean = window_mean(program, 'close', period) %}
  {% do feature(program, 'sma_' ~ period, mean, [mean], 'mean of the last period closes', 'price', window=period) %}
{% endmacro %}
