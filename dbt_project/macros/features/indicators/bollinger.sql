{% macro indicator_bollinger(program) %}
  {% set period = parameter(program, 'period') %}
  {% set deviations = parameter(program, 'deviations', least=0, is_whole=false) %}
  {% do about(program, 'bollinger', ['fct_indicators'], 'Bollinger (1983); TA-Lib BBANDS', nulls='until the window is full') %}
  {% set suffix = '_' ~ period ~ '_' ~ (deviations | string | replace('.', '_')) %}
  {% set window = window_moments(program, 'close', period, is_level=true) %}
  {% set names = dict(middle='bollinger_middle' ~ suffix, deviation='bollinger_deviation' ~ suffix) %}
  {% set upper = '(' ~ names.middle ~ ' + ' ~ deviations ~ ' * ' ~ names.deviation ~ ')' %}
  {% set lower = '(' ~ names.middle ~ ' - ' ~ deviations ~ ' * ' ~ names.deviation ~ ')' %}
  {% do feature(program, names.middle, 'mean_' ~ window, ['mean_' ~ window], 'mean of the last period closes', 'price', window=period) %}
  {% do feature(program, names.deviation, 'sqrt(squares_' ~ window ~ ' / ' ~ period ~ ')', ['squares_' ~ window],
    'population deviation of the last period closes', 'price', window=period) %}
  {% do derived(program, 'bollinger_upper' ~ suffix, upper, 'middle + deviations * deviation', 'price', window=period) %}
  {% do derived(program, 'bollinger_lower' ~ suffix, lower, 'middle - deviations * deviation', 'price', window=period) %}
  {% do derived(program, 'bollinger_bandwidth' ~ suffix, '(' ~ upper ~ ' - ' ~ lower ~ ') / nullif(' ~ names.middle ~ ', 0)',
    '(upper - lower) / middle', 'ratio', window=period) %}
  {% do derived(program, 'bollinger_percent_b' ~ suffix, '(close - ' ~ lower ~ ') / nullif(' ~ upper ~ ' - ' ~ lower ~ ', 0)',
    '(close - lower) / (upper - lower); null where all closes of the window are equal', '0 at the lower band, 1 at the upper', window=period) %}
{% endmacro %}
