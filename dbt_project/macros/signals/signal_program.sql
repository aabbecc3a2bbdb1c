{#-
  Signals as what they read and when they fire.

  A type is a macro `signal_type_<type>(signal)`. It takes its parameters (parameter), names the features that it reads (reads), and says
  in SQL when a position of either direction is entered and left (enters, leaves). Conditions are about `bar` alone, a row that has each
  feature twice, as of its close and as of the bar before (`<feature>_before`), so that no signal can look ahead.

  goes_on  whether rows that make no sense are kept, each with its `refusals`, instead of stopping everything
-#}
{% macro signal_program(rows, features, goes_on=false) %}
  {% set signals = [] %}
  {% for row in rows %}
    {% set declaration = context.get('signal_type_' ~ row.type) %}
    {% set signal = {
      'table': 'signal', 'kind': 'type', 'row': row, 'taken': [], 'available': features, 'reads': [], 'needs': {}, 'events': []
    } %}
    {% if goes_on %}{% do signal.update({'refusals': []}) %}{% endif %}
    {% if declaration is none %}
      {% do refuse_row(signal, "there is no type '" ~ row.type ~ "'; there are " ~ (known_types() | join(', ')), is_fatal=true) %}
    {% else %}
      {% do declaration(signal) %}
    {% endif %}
    {% for name in row.params if declaration is not none and name not in signal.taken %}
      {% do refuse_row(signal, "the type '" ~ row.type ~ "' has no parameter '" ~ name ~ "'; it takes " ~ (signal.taken | join(', ')), is_fatal=true) %}
    {% endfor %}
    {% do execution_rules(signal) %}
    {% do signals.append(signal) %}
  {% endfor %}
  {% do refuse_timeframes(signals) %}
  {{ return(signals) }}
{% endmacro %}


{#- The first refusal of a program that went on, with what was refused, as data; none if there is none. only_fatal: as no other would do. -#}
{% macro first_refusal(signals, only_fatal=false) %}
  {% for signal in signals %}
    {% for refusal in signal.refusals if refusal.is_fatal or not only_fatal %}
      {{ return({'type': signal.row.type, 'params': signal.row.params, 'what': refusal.what}) }}
    {% endfor %}
  {% endfor %}
  {{ return(none) }}
{% endmacro %}


{#- A signal needs bars with features, and is traded on bars that are not longer than they are. -#}
{% macro refuse_timeframes(signals) %}
  {% if execute and flags.INTROSPECT and run_query("select to_regclass('bars.dim_timeframe') is not null").rows[0][0] %}
    {% set known = {} %}
    {% for row in run_query("select timeframe, duration_seconds, compute_features from bars.dim_timeframe").rows %}
      {% do known.update({row['timeframe']: row}) %}
    {% endfor %}
    {% for signal in signals %}
      {% set timeframe = signal.row.timeframe %}
      {% set traded = signal.row.execution.get('execution_timeframe', timeframe) %}
      {% if timeframe not in known or not known[timeframe]['compute_features'] %}
        {% do refuse_row(signal, "no features are computed of timeframe '" ~ timeframe ~ "' (config.timeframe.compute_features)", is_fatal=true) %}
      {% elif traded not in known %}
        {% do refuse_row(signal, "there is no execution_timeframe '" ~ traded ~ "' in config.timeframe", is_fatal=true) %}
      {% elif known[traded]['duration_seconds'] > known[timeframe]['duration_seconds'] %}
        {% do refuse_row(signal, 'execution_timeframe ' ~ traded ~ ' is longer than ' ~ timeframe, is_fatal=true) %}
      {% endif %}
    {% endfor %}
  {% endif %}
{% endmacro %}


{#-
  A feature that the signal looks at, as SQL of its value at the bar; `before` it is that of the bar before. Where no enabled indicator
  makes it the row is refused, unless the caller makes what is needed itself (`available` is none).
-#}
{% macro reads(signal, feature, kernel, params) %}
  {% do signal.needs.update({kernel ~ tojson(params, sort_keys=true): {'kernel': kernel, 'params': params}}) %}
  {% if signal.available is not none and feature not in signal.available %}
    {% do refuse_row(signal, "it reads the feature " ~ feature ~ ", which no enabled row of config.indicator makes; it would be ('"
      ~ ([kernel] + (params.values() | list)) | join('_') | replace('.', '_') ~ "', '" ~ kernel ~ "', '" ~ tojson(params) ~ "')") %}
  {% endif %}
  {% if feature not in signal.reads %}{% do signal.reads.append(feature) %}{% endif %}
  {{ return('bar.' ~ feature) }}
{% endmacro %}


{#- The value itself, where it is a number and no feature; the one at the bar before. -#}
{% macro before(value) %}{{ return(value if value is number else value ~ '_before') }}{% endmacro %}


{#-
  Whether a value stands above another: by more than rounding leaves of the larger one, or of `of` where they are differences of something larger. Rounding
  leaves some 1e-15 of a mean. Two means of prices that are not equal differ by a tick over the product of their lengths: of 5 and 200 bars at
  60,000.00, that is 2e-10 of it. Between them, two values that are equal in the arithmetic of prices stand level here, too.
-#}
{% macro is_above(a, b, of=none) %}
  {% set scale = of if of is not none else 'greatest(abs(' ~ a ~ '), abs(' ~ b ~ '))' %}
  {{ return('(' ~ a ~ ' - ' ~ b ~ ' > 1e-12::float8 * ' ~ scale ~ ')') }}
{% endmacro %}


{% macro is_below(a, b, of=none) %}{{ return(is_above(b, a, of)) }}{% endmacro %}


{#- Above now, and at the bar before not: from level it crosses as from below. -#}
{% macro crosses_above(a, b) %}
  {{ return('(' ~ is_above(a, b) ~ ' and not ' ~ is_above(before(a), before(b)) ~ ')') }}
{% endmacro %}


{% macro crosses_below(a, b) %}{{ return(crosses_above(b, a)) }}{% endmacro %}


{#- When a position is entered, or left. Of a direction that the signal does not trade nothing is kept. -#}
{% macro enters(signal, direction, condition) %}
  {% do add_event(signal, direction, 'entry', condition) %}
{% endmacro %}


{% macro leaves(signal, direction, condition) %}
  {% do add_event(signal, direction, 'exit', condition) %}
{% endmacro %}


{% macro add_event(signal, direction, action, condition) %}
  {% if signal.row.direction in [direction, 'both'] %}
    {% do signal.events.append({'direction': direction, 'action': action, 'condition': condition}) %}
  {% endif %}
{% endmacro %}


{#- The types there are: the macros signal_type_<type>, a prefix that nothing else has. -#}
{% macro known_types() %}
  {% set types = [] %}
  {% for name in context if name.startswith('signal_type_') %}
    {% do types.append(name[12:]) %}
  {% endfor %}
  {{ return(types | sort) }}
{% endmacro %}
