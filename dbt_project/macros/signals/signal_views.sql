{#-
  The views that show the events of one type each, `signals.fct_signals_<type>`, with a column per feature that signals of the type read.
  A type that has signals no longer keeps its view: somebody may read it.
-#}
{% macro signal_views() %}
  {% if execute %}
    {% set types = {} %}
    {% for signal in signal_program(enabled_signals(), none) %}
      {% do types.setdefault(signal.row.type, []).extend(signal.reads) %}
    {% endfor %}
    {% for type, names in types.items() %}
      {% call statement('view') %}
        select ops.replace_view('{{ this.schema }}.fct_signals_{{ type }}', $view$
          select
            instrument_id, timeframe, closed_at, known_at, signal, direction, action, close, fraction,
            {%- for name in names | unique | sort %}
            (features ->> '{{ name }}')::float8 as {{ name }},
            {%- endfor %}
            feature_hash, params_hash
          from {{ this }}
          where type = '{{ type }}'
        $view$)
      {% endcall %}
    {% endfor %}
  {% endif %}
{% endmacro %}
