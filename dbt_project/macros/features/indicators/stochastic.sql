{#- TA-Lib's fast stochastic: both lines begin where the second does. -#}
{% macro indicator_stochastic(program) %}
  {% set period = parameter(program, 'period') %}
  {% set smoothing = parameter(program, 'smoothing') %}
  {% do about(program, 'stochastic', ['fct_indicators'], 'Lane (1957); TA-Lib STOCHF') %}
  {% set extremes = window_extremes(program, period) %}
  {% set line = computed(program, 'stochastic_' ~ period,
    'coalesce(100 * (close - ' ~ extremes.lowest ~ ') / nullif(' ~ extremes.highest ~ ' - ' ~ extremes.lowest ~ ', 0), 0)') %}
  {% set mean = window_mean(program, line, smoothing) %}
  {% set first = period + smoothing - 1 %}
  {% set suffix = '_' ~ period ~ '_' ~ smoothing %}
  {% do feature(program, 'stochastic_k' ~ suffix, line, [line],
    '100 * (close - lowest low) / (highest high - lowest low) over period; 0 where those are equal', '0 to 100', first=first, window=first) %}
  {% do feature(program, 'stochastic_d' ~ suffix, mean, [mean], 'mean of the last smoothing k', '0 to 100', first=first, window=first) %}
{% endmacro %}
