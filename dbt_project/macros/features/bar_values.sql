{#-
  Values of one bar and the one before it, by name: `close` and the other prices themselves, and what follows from them. The time since the
  bar before plays no part, but in a return: reference_close is null after time that nobody saw and where the price was zero.
-#}
{% macro bar_value(program, name) %}
  {% set known = {
    'gain': ('greatest(close - previous_close, 0)', []),
    'loss': ('greatest(previous_close - close, 0)', []),
    'true_range': ('greatest(high, previous_close) - least(low, previous_close)', []),
    'typical_price': ('(high + low + close) / 3', []),
    'up_move': ('high - previous_high', []),
    'down_move': ('previous_low - low', []),
    'plus_movement': ('case when up_move > 0 and up_move > down_move then up_move else 0 end', ['up_move', 'down_move']),
    'minus_movement': ('case when down_move > 0 and down_move > up_move then down_move else 0 end', ['up_move', 'down_move']),
    'log_return': ('ln(nullif(close, 0) / reference_close)', []),
    'range_return': ('case when low > 0 then ln(high / low) end', []),
    'body_return': ('case when low > 0 then ln(close / open) end', []),
    'range_squared': ('range_return * range_return', ['range_return']),
    'garman_klass_term': (
      '0.5::float8 * range_squared - ' ~ 0.3862943611198906 ~ '::float8 * body_return * body_return', ['range_squared', 'body_return']
    ),
    'rogers_satchell_term': (
      'case when low > 0 then ln(high / close) * ln(high / open) + ln(low / close) * ln(low / open) end', []
    ),
  } %}
  {% if name in known and name not in program.inputs %}
    {% for other in known[name][1] %}{% do bar_value(program, other) %}{% endfor %}
    {% do program.inputs.update({name: name ~ ' := ' ~ known[name][0] ~ ';'}) %}
  {% endif %}
{% endmacro %}
