{#- TA-Lib's sums begin with period - 1 movements and then a step of smoothing. A bar without directional movement keeps the last DX. -#}
{% macro indicator_adx(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'adx', ['fct_indicators'], 'Wilder (1978); TA-Lib ADX, PLUS_DI, MINUS_DI',
    seeding='sums of the first period - 1 movements; the mean of the first period DX') %}
  {% set range = wilder_sum(program, 'true_range', period) %}
  {% set plus = wilder_sum(program, 'plus_movement', period) %}
  {% set minus = wilder_sum(program, 'minus_movement', period) %}
  {% set name = 'adx_' ~ period %}
  {% do remembered(program, name, '0') %}
  {% do program.flushed.append(name) %}
  {% set dx = computed(program, 'dx_' ~ period,
    'case when ' ~ range ~ ' > 0 then 100 * abs(' ~ plus ~ ' - ' ~ minus ~ ') / nullif(' ~ plus ~ ' + ' ~ minus ~ ', 0) end') %}
  {% do computed(program, name,
    'case when n > ' ~ 2 * period ~ ' then ' ~ name ~ ' + coalesce(' ~ dx ~ ' - ' ~ name ~ ', 0) / ' ~ period
    ~ ' when n > ' ~ period ~ ' then ' ~ name ~ ' + (coalesce(' ~ dx ~ ', 0) - ' ~ name ~ ') / (n - ' ~ period ~ ') else 0 end',
    warm=name ~ ' + coalesce(' ~ dx ~ ' - ' ~ name ~ ', 0) / ' ~ period, warm_from=2 * period + 1) %}
  {% set unstable = unstable_bars(1 / period) %}
  {% do feature(program, name, name, [name], 'mean of 100 * |+di - -di| / (+di + -di), renewed by 1 / period', '0 to 100', first=2 * period,
    window=2 * period, unstable=2 * unstable) %}
  {% for side, sum in [('plus', plus), ('minus', minus)] %}
    {% do feature(program, side ~ '_di_' ~ period, 'coalesce(100 * ' ~ sum ~ ' / nullif(' ~ range ~ ', 0), 0)', [sum, range],
      '100 * sum of ' ~ side ~ ' movement / sum of true range', '0 to 100', first=period + 1, window=period + 1, unstable=unstable) %}
  {% endfor %}
{% endmacro %}
