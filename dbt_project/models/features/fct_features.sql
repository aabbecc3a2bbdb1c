{{ config(materialized='view') }}

{{ all_features(feature_program(enabled_indicators())) }}
