{#- bars, bars_24_7: of how many returns, in a session and around the clock; deviations: from how many on a return is an outlier. -#}
{% macro indicator_return_zscore(program) %}
  {% set bars = parameter(program, 'bars') %}
  {% set bars_24_7 = parameter(program, 'bars_24_7') %}
  {% set deviations = parameter(program, 'deviations', least=0, is_whole=false) %}
  {% set longest = [bars, bars_24_7] | max %}
  {% set suffix = bars ~ '_' ~ bars_24_7 %}
  {% do about(program, 'outliers', ['fct_returns'], 'standard score over a trailing window',
    nulls='until the window is full of returns, without a return, and where all of the window are equal') %}
  {% set length = 'length_' ~ suffix %}
  {% do program.locals.update({length: 'integer'}) %}
  {% do program.prologue.append(length ~ ' := case when is_24_7 then ' ~ bars_24_7 ~ ' else ' ~ bars ~ ' end;') %}
  {% set window = window_moments(program, 'log_return', length, 'return', longest=longest) %}
  {% set name = 'return_zscore_' ~ suffix %}
  {% set score = computed(program, name,
    '(log_return - mean_' ~ window ~ ') / nullif(sqrt(squares_' ~ window ~ ' / (' ~ length ~ ' - 1)), 0)', 'return', after_windows=true) %}
  {% do feature(program, name, 'case when log_return is not null then ' ~ score ~ ' end', ['log_return', score],
    '(log_return - mean) / sample deviation, of the last ' ~ bars ~ ' returns (' ~ bars_24_7 ~ ' around the clock), its own included',
    'deviations', window=longest + 1) %}
  {% do derived(program, 'is_outlier_zscore_' ~ suffix, 'abs(' ~ name ~ ') > ' ~ deviations, 'abs(' ~ name ~ ') > ' ~ deviations,
    'flag', window=longest + 1) %}
{% endmacro %}
