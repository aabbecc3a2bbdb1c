{#- In when the RSI comes back out of its extreme, out when it has come to the level `exit` (mirrored for shorts). -#}
{% macro signal_type_rsi_mean_revert(signal) %}
  {% set period = parameter(signal, 'period') %}
  {% set oversold = parameter(signal, 'oversold', least=0, most=100, is_whole=false) %}
  {% set overbought = parameter(signal, 'overbought', least=oversold, most=100, is_whole=false) %}
  {% set exit = parameter(signal, 'exit', least=oversold, most=overbought, is_whole=false) %}
  {% set rsi = reads(signal, 'rsi_' ~ period, 'rsi', {'period': period}) %}
  {% do enters(signal, 'long', '(' ~ crosses_above(rsi, oversold) ~ ' and ' ~ is_below(rsi, exit) ~ ')') %}
  {% do leaves(signal, 'long', crosses_above(rsi, exit)) %}
  {% do enters(signal, 'short', '(' ~ crosses_below(rsi, overbought) ~ ' and ' ~ is_above(rsi, 100 - exit) ~ ')') %}
  {% do leaves(signal, 'short', crosses_below(rsi, 100 - exit)) %}
{% endmacro %}
