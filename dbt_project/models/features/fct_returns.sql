{{ config(materialized='view') }}
{%- set features = enabled_features() %}

select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    gap_before,
    {{ feature_columns(features, 'fct_returns') -}}
    {{ feature_flags(features, 'fct_returns') -}}
    series_position,
    bars_since_outage
from {{ ref('bar_features') }}
