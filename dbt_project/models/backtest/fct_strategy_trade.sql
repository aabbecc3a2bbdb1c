{{ config(materialized='view') }}

{{ trades(ref('fill'), ref('fct_strategy_equity')) }}
