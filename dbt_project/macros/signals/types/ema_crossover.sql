{#- In while the fast exponential mean stands above the slow one. -#}
{% macro signal_type_ema_crossover(signal) %}
  {% do mean_crossover(signal, 'ema') %}
{% endmacro %}


{% macro mean_crossover(signal, kernel) %}
  {% set fast = parameter(signal, 'fast') %}
  {% set slow = parameter(signal, 'slow', least=fast + 1) %}
  {% set fast_mean = reads(signal, kernel ~ '_' ~ fast, kernel, {'period': fast}) %}
  {% set slow_mean = reads(signal, kernel ~ '_' ~ slow, kernel, {'period': slow}) %}
  {% do enters(signal, 'long', crosses_above(fast_mean, slow_mean)) %}
  {% do leaves(signal, 'long', crosses_below(fast_mean, slow_mean)) %}
  {% do enters(signal, 'short', crosses_below(fast_mean, slow_mean)) %}
  {% do leaves(signal, 'short', crosses_above(fast_mean, slow_mean)) %}
{% endmacro %}
