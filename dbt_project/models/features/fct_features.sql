{{ config(materialized='view') }}

with features_by_year as (
    {{ features_by_year() | indent(4) }}
)

{{ all_features(enabled_features()) }}
