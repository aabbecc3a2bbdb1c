{#- A crossover of exponential means that the RSI confirms: above `momentum` for a long, below 100 less it for a short. -#}
{% macro signal_type_ema_rsi(signal) %}
  {% set fast = parameter(signal, 'fast') %}
  {% set slow = parameter(signal, 'slow', least=fast + 1) %}
  {% set period = parameter(signal, 'period') %}
  {% set momentum = parameter(signal, 'momentum', least=0, most=100, is_whole=false) %}
  {% set fast_mean = reads(signal, 'ema_' ~ fast, 'ema', {'period': fast}) %}
  {% set slow_mean = reads(signal, 'ema_' ~ slow, 'ema', {'period': slow}) %}
  {% set rsi = reads(signal, 'rsi_' ~ period, 'rsi', {'period': period}) %}
  {% do enters(signal, 'long', '(' ~ crosses_above(fast_mean, slow_mean) ~ ' and ' ~ is_above(rsi, momentum) ~ ')') %}
  {% do leaves(signal, 'long', crosses_below(fast_mean, slow_mean)) %}
  {% do enters(signal, 'short', '(' ~ crosses_below(fast_mean, slow_mean) ~ ' and ' ~ is_below(rsi, 100 - momentum) ~ ')') %}
  {% do leaves(signal, 'short', crosses_above(fast_mean, slow_mean)) %}
{% endmacro %}
