{{ config(materialized='view') }}
{%- set program = feature_program(enabled_indicators()) %}

with features_by_year as (
    {{ features_by_year() | indent(4) }}
)

select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    {{ feature_columns(program, 'fct_volatility') -}}
    {{ feature_flags(program, 'fct_volatility') -}}
    bars_per_year,
    series_position,
    bars_since_outage
from features_by_year
