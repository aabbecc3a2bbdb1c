{#-
  In when the close comes back inside a Bollinger band while the MACD turns the same way (its histogram grows, or falls for a short), out
  when it has come to the middle.
-#}
{% macro signal_type_macd_bollinger(signal) %}
  {% set fast = parameter(signal, 'fast') %}
  {% set slow = parameter(signal, 'slow', least=fast + 1) %}
  {% set smoothing = parameter(signal, 'signal', least=1) %}
  {% set period = parameter(signal, 'period') %}
  {% set deviations = parameter(signal, 'deviations', least=0, is_whole=false) %}
  {% set bands = '_' ~ period ~ '_' ~ (deviations | string | replace('.', '_')) %}
  {% set histogram = reads(signal, 'macd_histogram_' ~ fast ~ '_' ~ slow ~ '_' ~ smoothing, 'macd',
    {'fast': fast, 'slow': slow, 'signal': smoothing}) %}
  {% set params = {'period': period, 'deviations': deviations} %}
  {% set upper = reads(signal, 'bollinger_upper' ~ bands, 'bollinger', params) %}
  {% set middle = reads(signal, 'bollinger_middle' ~ bands, 'bollinger', params) %}
  {% set lower = reads(signal, 'bollinger_lower' ~ bands, 'bollinger', params) %}
  {% do enters(signal, 'long', '(' ~ crosses_above('bar.close', lower) ~ ' and ' ~ is_below('bar.close', middle)
    ~ ' and ' ~ is_above(histogram, before(histogram), of='bar.close') ~ ')') %}
  {% do leaves(signal, 'long', crosses_above('bar.close', middle)) %}
  {% do enters(signal, 'short', '(' ~ crosses_below('bar.close', upper) ~ ' and ' ~ is_above('bar.close', middle)
    ~ ' and ' ~ is_below(histogram, before(histogram), of='bar.close') ~ ')') %}
  {% do leaves(signal, 'short', crosses_below('bar.close', middle)) %}
{% endmacro %}
