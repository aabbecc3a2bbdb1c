{#-
  The views that show the events of one type each, `signals.fct_signals_<type>`, with a column per feature that signals of the type read.
  One that would be what it is is left alone. A type that has no signals any more keeps its view: somebody may read it.
-#}
{% macro signal_views() %}
  {% if execute %}
    {% set types = {} %}
    {% for signal in signal_program(enabled_signals(), none) %}
      {% do types.setdefault(signal.row.type, []).extend(signal.reads) %}
    {% endfor %}
    {% for type, names in types.items() %}
      {% set view = this.schema ~ '.fct_signals_' ~ type %}
      {% set definition %}
        select
          instrument_id, timeframe, closed_at, known_at, signal, direction, action, close, fraction,
          {%- for name in names | unique | sort if name != 'close' %}
          (features ->> '{{ name }}')::float8 as {{ name }},
          {%- endfor %}
          feature_hash, params_hash
        from {{ this }}
        where type = '{{ type }}'
      {% endset %}
      {% set told = 'Events of signals of type ' ~ type ~ ', one row each, with what they read (' ~ local_md5(definition) ~ ').' %}
      {% if run_query("select obj_description(to_regclass('" ~ view ~ "'))").rows[0][0] != told %}
        {% call statement('view') %}
          select ops.replace_view('{{ view }}', $view${{ definition }}$view$);
          comment on view {{ view }} is '{{ told }}'
        {% endcall %}
      {% endif %}
    {% endfor %}
  {% endif %}
{% endmacro %}
