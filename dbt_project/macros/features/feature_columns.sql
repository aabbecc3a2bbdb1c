{#- The enabled indicators: of dim_indicator, or of config.indicator before that is built; none while nothing can be asked. -#}
{% macro enabled_indicators() %}
  {#- Named for the graph alone: in a unit test the name would be that of a fixture. #}
  {% do ref('dim_indicator') %}
  {% if not execute or not flags.INTROSPECT %}{{ return([]) }}{% endif %}
  {% set found = run_query("
    select to_regclass('features.dim_indicator') is not null as is_built, to_regclass('config.indicator') is not null as is_migrated
  ").rows[0] %}
  {% if not found['is_migrated'] %}{{ return([]) }}{% endif %}
  {% do note_reading() %}
  {% set rows = run_query("
    select indicator, kernel, params::text as params from " ~ ('features.dim_indicator' if found['is_built'] else 'config.indicator')
    ~ " where is_enabled order by indicator
  ").rows %}
  {% set indicators = [] %}
  {% for row in rows %}
    {% do indicators.append({'indicator': row['indicator'], 'kernel': row['kernel'], 'params': fromjson(row['params'])}) %}
  {% endfor %}
  {{ return(indicators) }}
{% endmacro %}


{#-
  The features that the enabled indicators make, in the order of their columns: of dim_feature, or as the indicators declare them before
  that is built. Asking is what a hundredth of declaring costs, and ten models want to know.
-#}
{% macro enabled_features() %}
  {#- Named for the graph alone, as above. #}
  {% do ref('dim_feature') %}
  {% do ref('dim_indicator') %}
  {% if not execute or not flags.INTROSPECT %}{{ return([]) }}{% endif %}
  {% if not run_query("
    select exists (select from pg_attribute where attrelid = to_regclass('features.dim_feature') and attname = 'expression') as is_built
  ").rows[0]['is_built'] %}
    {{ return(feature_program(enabled_indicators()).features) }}
  {% endif %}
  {% do note_reading() %}
  {% set features = [] %}
  {% for row in run_query("
    select
      feature, expression, is_stored, family, array_to_string(shown_in, ',') as shown_in, kernel, params::text as params, unit, window_bars,
      unstable_bars
    from features.dim_feature
    order by feature_number
  ").rows %}
    {% do features.append({
      'name': row['feature'], 'sql': row['expression'], 'is_stored': row['is_stored'], 'family': row['family'],
      'views': row['shown_in'].split(','), 'kernel': row['kernel'], 'params': fromjson(row['params']), 'unit': row['unit'],
      'window': row['window_bars'], 'unstable': row['unstable_bars']
    }) %}
  {% endfor %}
  {{ return(features) }}
{% endmacro %}


{#- The features that a view shows, or all: stored ones by name, derived ones by their SQL, each with a comma. -#}
{% macro feature_columns(features, view=none) -%}
  {%- for feature in features if view is none or view in feature.views -%}
    {{ feature.name if feature.is_stored else feature.sql ~ ' as ' ~ feature.name }},
    {% endfor %}
{%- endmacro %}


{#- The families of the features that a view shows, or of all: {name: {span, names of stored columns}}. -#}
{% macro feature_families(features, view=none) %}
  {% set families = {} %}
  {% for feature in features if feature.is_stored and (view is none or view in feature.views) %}
    {% set family = families.setdefault(feature.family, {'span': 0, 'names': []}) %}
    {% do family.update({'span': [family.span, feature.window + feature.unstable] | max}) %}
    {% do family.names.append(feature.name) %}
  {% endfor %}
  {{ return(families) }}
{% endmacro %}


{#-
  is_warm_<family>: every stored column of it is there and less than a thousandth of any seed is left in it.
  has_outage_<family>: an outage, or time that was not fetched, lies between the bars that such a bar looks at.
-#}
{% macro feature_flags(features, view=none) -%}
  {%- for name, family in feature_families(features, view).items() -%}
    series_position >= {{ family.span }}
    and num_nulls(
        {{ family.names | join(',\n        ') }}
    ) = 0 as is_warm_{{ name }},
    coalesce(bars_since_outage < {{ family.span - 1 }}, false) as has_outage_{{ name }},
    {% endfor %}
{%- endmacro %}


{#- Text as an SQL literal. -#}
{% macro text_literal(text) -%}
  {{ "'" ~ (text | string | replace("'", "''")) ~ "'" if text is not none else 'null' }}
{%- endmacro %}


{#- The bars' features, and by what per-bar figures become per-year ones. -#}
{% macro features_by_year() -%}
select
    bar_features.*,
    bars_per_year.bars_per_year
from {{ ref('bar_features') }} as bar_features
inner join {{ ref('bars_per_year') }} as bars_per_year
    on bar_features.instrument_id = bars_per_year.instrument_id and bar_features.timeframe = bars_per_year.timeframe
{%- endmacro %}


{#- Every feature of every bar, stored and derived, with the flags of their families: what fct_features is and marts.features names. -#}
{% macro all_features(features) -%}
select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    gap_before,
    {{ feature_columns(features) -}}
    {{ feature_flags(features) -}}
    bars_per_year,
    series_position,
    bars_since_outage
from features_by_year
{%- endmacro %}
