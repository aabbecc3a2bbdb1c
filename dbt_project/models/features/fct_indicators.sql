{{ config(materialized='view') }}
{%- set program = feature_program(enabled_indicators()) %}

select
    instrument_id,
    timeframe,
    opened_at,
    closed_at,
    close,
    gap_before,
    {{ feature_columns(program, 'fct_indicators') -}}
    {{ feature_flags(program, 'fct_indicators') -}}
    series_position,
    bars_since_outage
from {{ ref('bar_features') }}
