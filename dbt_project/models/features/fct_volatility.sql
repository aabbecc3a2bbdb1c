{{ config(materialized='view') }}
{%- set program = feature_program(enabled_indicators()) %}

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
from {{ ref('bar_features') }}
inner join {{ ref('bars_per_year') }} using (instrument_id, timeframe)
