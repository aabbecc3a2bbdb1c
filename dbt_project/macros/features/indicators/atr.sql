{% macro indicator_atr(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'atr', ['fct_indicators', 'fct_volatility'], 'Wilder (1978); TA-Lib ATR', seeding='the mean of its first period true ranges, from the second bar on') %}
  {% set mean = wilder_mean(program, 'true_range', period) %}
  {% do feature(program, 'atr_' ~ period, mean, [mean], 'atr + (true range - atr) / period', 'price', first=period + 1, window=period + 1,
    unstable=unstable_bars(1 / period)) %}
{% endmacro %}
