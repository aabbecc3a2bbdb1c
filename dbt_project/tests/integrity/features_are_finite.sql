{{ config(description='No feature is NaN or infinite: what cannot be computed is null.') }}

select
    instrument_id,
    timeframe,
    closed_at
from {{ ref('bar_features') }}
where
    false
    {%- for feature in enabled_features() if feature.is_stored %}
        or {{ feature.name }} in ('NaN', 'Infinity', '-Infinity')
    {%- endfor %}
