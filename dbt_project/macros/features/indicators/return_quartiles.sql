{#- bars: of how many returns; fence: how many interquartile ranges beyond a quartile a return is an outlier (Tukey 1977). -#}
{% macro indicator_return_quartiles(program) %}
  {% set bars = parameter(program, 'bars') %}
  {% set fence = parameter(program, 'fence', least=0, is_whole=false) %}
  {% do about(program, 'outliers', ['fct_returns'], 'Tukey (1977), Exploratory Data Analysis; quantiles of type 7 of Hyndman & Fan (1996)',
    nulls='until the window is full of returns') %}
  {% set quantiles = window_quantiles(program, 'log_return', bars, [25, 75], 'return') %}
  {% set names = ['return_q25_' ~ bars, 'return_q75_' ~ bars] %}
  {% for name in names %}
    {% do feature(program, name, quantiles[loop.index0], [quantiles[loop.index0]],
      ['lower', 'upper'][loop.index0] ~ ' quartile of the last ' ~ bars ~ ' log returns, its own included', 'log ratio', window=bars + 1) %}
  {% endfor %}
  {% set reach = ' ' ~ fence ~ ' * (' ~ names[1] ~ ' - ' ~ names[0] ~ ')' %}
  {% do derived(program, 'is_outlier_iqr_' ~ bars,
    'log_return not between ' ~ names[0] ~ ' -' ~ reach ~ ' and ' ~ names[1] ~ ' +' ~ reach,
    'log_return outside the quartiles by more than ' ~ fence ~ ' times their distance', 'flag', window=bars + 1) %}
{% endmacro %}
