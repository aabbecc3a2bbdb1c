{#-
  A mean of which every bar renews a fixed part, begun as the plain mean of its first `period` values: the running mean of the first p
  values is their mean at the p-th, so a seed needs no pass of its own. `after` bars go by before the first value.
-#}
{% macro recursive_mean(program, name, value, period, part, after=0) %}
  {% do remembered(program, name, '0') %}
  {% do program.flushed.append(name) %}
  {% set step = name ~ ' + (' ~ value ~ ' - ' ~ name ~ ') * ' %}
  {% set weight -%}
    case when n > {{ after + period }} then {{ part }} {% if after %}when n <= {{ after }} then 0 {% endif -%}
    else 1::float8 / (n{{ ' - ' ~ after if after }}) end
  {%- endset %}
  {{ return(computed(program, name, step ~ weight, warm=step ~ part, warm_from=after + period + 1)) }}
{% endmacro %}


{#- The field's EMA: 2 / (period + 1) of it is renewed. -#}
{% macro exponential_mean(program, value, period, after=0, name=none) %}
  {% do bar_value(program, value) %}
  {{ return(recursive_mean(
    program, name or 'ema_' ~ value ~ '_' ~ period ~ ('_' ~ after if after else ''), value, period,
    '(2::float8 / ' ~ (period + 1) ~ ')', after
  )) }}
{% endmacro %}


{#- Wilder's: 1 / period of it is renewed, from the second bar on, since a change or a true range needs a bar before it. -#}
{% macro wilder_mean(program, value, period) %}
  {% do bar_value(program, value) %}
  {{ return(recursive_mean(
    program, 'wilder_' ~ value ~ '_' ~ period, value, period, '(1::float8 / ' ~ period ~ ')', after=1
  )) }}
{% endmacro %}


{#- Wilder's sum as TA-Lib takes it: of the first period - 1 values; from then on a part of it goes as a value comes. -#}
{% macro wilder_sum(program, value, period) %}
  {% do bar_value(program, value) %}
  {% set name = 'sum_' ~ value ~ '_' ~ period %}
  {% do remembered(program, name, '0') %}
  {% do program.flushed.append(name) %}
  {{ return(computed(
    program, name,
    'case when n > ' ~ period ~ ' then ' ~ name ~ ' - ' ~ name ~ ' / ' ~ period ~ ' + ' ~ value
    ~ ' when n > 1 then ' ~ name ~ ' + ' ~ value ~ ' else 0 end',
    warm=name ~ ' - ' ~ name ~ ' / ' ~ period ~ ' + ' ~ value, warm_from=period + 1
  )) }}
{% endmacro %}
