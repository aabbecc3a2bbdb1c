{#- CTE `series`: each enabled signal in each instrument. -#}
{% macro traded_series() -%}
series as not materialized (
    select
        instrument.instrument_id,
        signal.timeframe,
        signal.signal
    from {{ ref('dim_instrument') }} as instrument
    cross join {{ ref('dim_signal') }} as signal
    where signal.is_enabled
)
{%- endmacro %}


{#- The functions of the living results, over the signals that are stored. -#}
{% macro living_fill_walk() %}
  {{ return(fill_walk('fills', {
    'signals': ref('dim_signal'),
    'events': ref('fct_signals'),
    'bars': ref('fct_bars'),
    'costs': source('config', 'cost'),
    'delistings': source('config', 'delisting'),
    'observed': ref('observed'),
  }, standing=this.schema ~ '.' ~ this.identifier)) }}
{% endmacro %}


{% macro fill_walk_name() %}{{ return(function_name('fills', living_fill_walk())) }}{% endmacro %}


{% macro create_fill_walk() %}{{ create_function('fills', living_fill_walk()) }}{% endmacro %}


{% macro living_equity_walk() %}
  {{ return(equity_walk('equity', {
    'fills': ref('fill'),
    'bars': ref('fct_bars'),
    'costs': source('config', 'cost'),
  }, standing=this.schema ~ '.' ~ this.identifier)) }}
{% endmacro %}


{% macro equity_walk_name() %}{{ return(function_name('equity', living_equity_walk())) }}{% endmacro %}


{% macro create_equity_walk() %}{{ create_function('equity', living_equity_walk()) }}{% endmacro %}
