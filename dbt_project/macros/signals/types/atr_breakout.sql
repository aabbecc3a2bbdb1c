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
  {% set expands = is_above(atr, expansion ~ ' * ' ~ before(atr), of='bar.close') %}
  {% set rises, falls = is_above('bar.close', before(upper)), is_below('bar.close', before(lower)) %}
  {% do enters(signal, 'long', '(' ~ rises ~ ' and ' ~ expands ~ ')') %}
  {% do leaves(signal, 'long', falls) %}
  {% do enters(signal, 'short', '(' ~ falls ~ ' and ' ~ expands ~ ')') %}
  {% do leaves(signal, 'short', rises) %}
{% endmacro %}
