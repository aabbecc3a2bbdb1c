{#-
  In when the close leaves the channel of the bars before it while the mean true range grows by more than the factor `expansion`, out when
  it leaves the channel on the other side.
-#}
{% macro signal_type_atr_breakout(signal) %}
  {% set channel = parameter(signal, 'channel') %}
  {% set period = parameter(signal, 'period') %}
  {% set expansion = parameter(signal, 'expansion', least=0, is_whole=false) %}
  {% set upper = reads(signal, 'donchian_upper_' ~ channel, 'donchian', {'period': channel}) %}
  {% set lower = reads(signal, 'donchian_lower_' ~ channel, 'donchian', {'period': channel}) %}
  {% set atr = reads(signal, 'atr_' ~ period, 'atr', {'period': period}) %}
  {% set expands = atr ~ ' > ' ~ expansion ~ ' * ' ~ before(atr) %}
  {% do enters(signal, 'long', '(bar.close > ' ~ before(upper) ~ ' and ' ~ expands ~ ')') %}
  {% do leaves(signal, 'long', 'bar.close < ' ~ before(lower)) %}
  {% do enters(signal, 'short', '(bar.close < ' ~ before(lower) ~ ' and ' ~ expands ~ ')') %}
  {% do leaves(signal, 'short', 'bar.close > ' ~ before(upper)) %}
{% endmacro %}
