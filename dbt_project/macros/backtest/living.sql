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
{% macro living_fill_loop() %}
  {{ return(fill_loop('fills', {
    'signals': ref('dim_signal'),
    'events': ref('fct_signals'),
    'bars': ref('fct_bars'),
    'costs': source('config', 'cost'),
    'delistings': source('config', 'delisting'),
    'observed': ref('observed'),
  }, standing=this.schema ~ '.' ~ this.identifier)) }}
{% endmacro %}


{% macro fill_loop_name() %}{{ return(function_name('fills', living_fill_loop())) }}{% endmacro %}


{% macro create_fill_loop() %}{{ create_function('fills', living_fill_loop()) }}{% endmacro %}


{% macro living_equity_loop() %}
  {{ return(equity_loop('equity', {
    'fills': ref('fill'),
    'bars': ref('fct_bars'),
    'costs': source('config', 'cost'),
  }, standing=this.schema ~ '.' ~ this.identifier)) }}
{% endmacro %}


{% macro equity_loop_name() %}{{ return(function_name('equity', living_equity_loop())) }}{% endmacro %}


{% macro create_equity_loop() %}{{ create_function('equity', living_equity_loop()) }}{% endmacro %}
