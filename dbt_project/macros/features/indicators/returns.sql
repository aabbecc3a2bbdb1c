{#- bars: over how many. No return from or to a price of zero, nor across time that nobody saw. -#}
{% macro indicator_returns(program) %}
  {% set bars = parameter(program, 'bars', least=1) %}
  {% do about(program, 'returns', ['fct_returns'], 'arithmetic and continuously compounded return',
    nulls='before it, from or to a price of zero, and where an outage or time not fetched lies between the two closes') %}
  {% if bars == 1 %}
    {% do bar_value(program, 'log_return') %}
    {% do feature(program, 'simple_return', 'close / reference_close - 1', ['reference_close'], 'close / previous close - 1', 'ratio', window=2) %}
    {% do feature(program, 'log_return', 'log_return', ['log_return'], 'ln(close / previous close)', 'log ratio', window=2) %}
  {% else %}
    {% set earlier = computed(program, 'close_' ~ bars, lagged(program, 'close', bars)) %}
    {% set name = 'simple_return_' ~ bars %}
    {% do feature(program, name,
      'case when bars_since_outage < ' ~ bars ~ ' then null else close / nullif(' ~ earlier ~ ', 0) - 1 end', [earlier],
      'close / close ' ~ bars ~ ' bars before - 1', 'ratio', first=bars + 1, window=bars + 1) %}
    {% do derived(program, 'log_return_' ~ bars, 'ln(nullif(1 + ' ~ name ~ ', 0))', 'ln(1 + ' ~ name ~ ')', 'log ratio', window=bars + 1) %}
  {% endif %}
{% endmacro %}
