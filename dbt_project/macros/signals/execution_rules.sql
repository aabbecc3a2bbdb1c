{#-
  How a signal is traded: its `execution`, checked, with the defaults of what it leaves out (docs/backtest.md). The walk over the fills reads
  the same values in SQL (execution_rule).
-#}
{% macro execution_rules(signal) %}
  {% set given = {} %}
  {% set numbers = {
    'pyramiding': (1, 100, true), 'exit_units': (1, 100, true), 'fraction': (0.0001, 1, false),
    'volatility_target': (0.0001, 10, false), 'stop_loss': (0.0001, 0.9999, false), 'take_profit': (0.0001, 100, false),
    'trailing_stop': (0.0001, 0.9999, false),
  } %}
  {% for name, value in signal.row.execution.items() %}
    {% if name in numbers %}
      {% do given.update({name: checked_number(signal, name, value, numbers[name][0], numbers[name][1], numbers[name][2])}) %}
    {% elif name == 'execution_timeframe' %}
      {% if value is not string %}{% do refuse_row(signal, "execution_timeframe is " ~ tojson(value) ~ ", not the name of a timeframe") %}{% endif %}
    {% else %}
      {% do refuse_row(signal, "execution has no '" ~ name ~ "'; it takes " ~ (numbers | join(', ')) ~ ', execution_timeframe', is_fatal=true) %}
    {% endif %}
  {% endfor %}
  {% set pyramiding = given.get('pyramiding', 1) %}
  {% if given.get('fraction', 1 / pyramiding) * pyramiding > 1.000001 %}
    {% do refuse_row(signal, 'fraction ' ~ given.fraction ~ ' times pyramiding ' ~ pyramiding ~ ' is more than the account') %}
  {% endif %}
  {% set fraction = given.get('fraction', (1 / pyramiding)) ~ '::float8' %}
  {% if given.get('volatility_target') %}
    {% set volatility = reads(signal, 'realised_30', 'realised', {'bars': 30}) %}
    {% set fraction = 'least(' ~ fraction ~ ', ' ~ given.volatility_target ~ ' / nullif(' ~ volatility ~ ' * sqrt(bar.bars_per_year), 0))' %}
  {% endif %}
  {% do signal.update({'fraction': fraction}) %}
{% endmacro %}


{#- A rule of a signal's execution in SQL, null where it gives none. -#}
{% macro execution_rule(name, type='float8') -%}
(signal.execution ->> '{{ name }}')::{{ type }}
{%- endmacro %}
