{#- Where nothing has moved since the first bar there is neither gain nor loss, and the RSI is 0, as TA-Lib has it. -#}
{% macro indicator_rsi(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'rsi', ['fct_indicators'], 'Wilder (1978); TA-Lib RSI', seeding='the means of its first period gains and losses') %}
  {% set gain = wilder_mean(program, 'gain', period) %}
  {% set loss = wilder_mean(program, 'loss', period) %}
  {% do feature(program, 'rsi_' ~ period, 'coalesce(100 * ' ~ gain ~ ' / nullif(' ~ gain ~ ' + ' ~ loss ~ ', 0), 0)', [gain, loss],
    '100 * mean gain / (mean gain + mean loss)', '0 to 100', first=period + 1, window=period + 1, unstable=unstable_bars(1 / period)) %}
{% endmacro %}
