{{ config(description='No feature is NaN or infinite: what cannot be computed is null.') }}
{%- set program = feature_program(enabled_indicators()) %}

select
    instrument_id,
    timeframe,
    closed_at
from {{ ref('bar_features') }}
where
    false
    {%- for feature in program.features if feature.is_stored %}
        or {{ feature.name }} in ('NaN', 'Infinity', '-Infinity')
    {%- endfor %}
