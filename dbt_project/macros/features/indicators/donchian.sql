{% macro indicator_donchian(program) %}
  {% set period = parameter(program, 'period') %}
  {% do about(program, 'donchian', ['fct_indicators'], 'Donchian (1960); TA-Lib MAX and MIN, the bar itself included') %}
  {% set extremes = window_extremes(program, period) %}
  {% for side, extreme, formula in [('upper', extremes.highest, 'highest high'), ('lower', extremes.lowest, 'lowest low')] %}
    {% do feature(program, 'donchian_' ~ side ~ '_' ~ period, extreme, [extreme], formula ~ ' of the last period bars', 'price', first=period,
      window=period) %}
  {% endfor %}
  {% do derived(program, 'donchian_middle_' ~ period, '(donchian_upper_' ~ period ~ ' + donchian_lower_' ~ period ~ ') / 2',
    '(upper + lower) / 2', 'price', window=period) %}
{% endmacro %}
