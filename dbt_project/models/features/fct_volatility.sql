{{ config(materialized='view') }}
{%- set features = enabled_features() %}

with features_by_year as (
    {{ features_by_year() | indent(4) }}
)

select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    {{ feature_columns(features, 'fct_volatility') -}}
    {{ feature_flags(features, 'fct_volatility') -}}
    bars_per_year,
    series_position,
    bars_since_outage
from features_by_year
