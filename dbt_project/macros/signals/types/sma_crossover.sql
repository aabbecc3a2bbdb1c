{#- In while the fast mean stands above the slow one. -#}
{% macro signal_type_sma_crossover(signal) %}
  {% do mean_crossover(signal, 'sma') %}
{% endmacro %}
