{{ config(memory='whole', key=['feature']) }}
{%- set program = feature_program(enabled_indicators()) %}

select
    feature,
    feature_number,
    indicator,
    kernel,
    params::jsonb as params,
    family,
    string_to_array(shown_in, ',') as shown_in,
    is_stored,
    expression,
    formula,
    unit,
    window_bars,
    unstable_bars,
    seeding,
    null_policy,
    source
from (
    values
    {%- for feature in program.features %}
        (
            '{{ feature.name }}',
            {{ loop.index }},
            '{{ feature.indicator }}',
            '{{ feature.kernel }}',
            {{ text_literal(tojson(feature.params)) }},
            '{{ feature.family }}',
            '{{ (feature.views + ['fct_features']) | join(',') }}',
            {{ feature.is_stored | string | lower }},
            {{ text_literal(feature.name if feature.is_stored else feature.sql) }},
            {{ text_literal(feature.formula) }},
            {{ text_literal(feature.unit) }},
            {{ feature.window }},
            {{ feature.unstable }},
            {{ text_literal(feature.seeding) }},
            {{ text_literal(feature.nulls or 'before its window is full') }},
            {{ text_literal(feature.source) }}
        ),
    {%- endfor %}
    (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)
)
    as declared (
        feature, feature_number, indicator, kernel, params, family, shown_in, is_stored, expression, formula, unit,
        window_bars, unstable_bars, seeding, null_policy, source
    )
where feature is not null
