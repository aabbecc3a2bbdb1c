{% macro indicator_ema(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'ema', ['fct_ema'], 'TA-Lib EMA', seeding='the mean of its first period closes') %}
  {% set mean = exponential_mean(program, 'close', period) %}
  {% do feature(program, 'ema_' ~ period, mean, [mean], 'ema + (close - ema) * 2 / (period + 1)', 'price', first=period, window=period,
    unstable=unstable_bars(2 / (period + 1))) %}
{% endmacro %}
