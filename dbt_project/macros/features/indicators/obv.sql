{#- From the first bar's volume on, as TA-Lib has it: a sum over the whole series, so its level means nothing, only its changes. -#}
{% macro indicator_obv(program) %}
  {% do about(program, 'obv', ['fct_indicators'], 'Granville (1963); TA-Lib OBV', seeding='the volume of the first bar') %}
  {% do remembered(program, 'obv', '0') %}
  {% do computed(program, 'obv', 'obv + case when close < previous_close then -volume when close > previous_close or n = 1 then volume else 0 end') %}
  {% do feature(program, 'obv', 'obv', ['obv'], 'volume added where the close rose, taken away where it fell', 'base units') %}
{% endmacro %}
