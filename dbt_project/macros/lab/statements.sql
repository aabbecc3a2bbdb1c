{#-
  The statements of titan backtest run, as JSON: {steps: [[step, sql], …], refused: {trial: reason}, error: what no trial makes sense for, or null
  (first_refusal)}. They run in one transaction, on unlogged
  tables and functions of schema lab that the last step drops (not temporary ones: those are closed to parallel workers). What is tried is
  in the statements, what it is tried on in tables that the caller fills: `range`, `signal`, `cost`, `delisting`.

  spec  run (its id), signals (rows as of config.signal; `signal` is the number of the trial), ends (what becomes of positions that are
        open at the end: open, closed or purged)
-#}
{% macro lab_statements(spec) %}
  {% set work = 'lab.work_' ~ spec.run ~ '_' %}
  {% set grid = [] %}
  {% set refused = {} %}
  {% set tried = signal_program(spec.signals, none, goes_on=true) %}
  {% for signal in tried %}
    {% if signal.refusals %}{% do refused.update({signal.row.signal: signal.refusals[0].what}) %}{% else %}{% do grid.append(signal) %}{% endif %}
  {% endfor %}
  {% set error = first_refusal(tried, only_fatal=true) %}
  {% if error or not grid %}{{ return(tojson({'error': error, 'refused': refused, 'steps': []})) }}{% endif %}
  {% set needs = {} %}
  {% set timeframes = [] %}
  {% for signal in grid %}
    {% do needs.update(signal.needs) %}
    {% do timeframes.append(signal.row.timeframe) %}
    {% do timeframes.append(signal.row.execution.get('execution_timeframe', signal.row.timeframe)) %}
  {% endfor %}
  {% set indicators = [] %}
  {% for name, need in needs.items() %}
    {% do indicators.append({'indicator': 'needed_' ~ loop.index, 'kernel': need.kernel, 'params': need.params}) %}
  {% endfor %}
  {% set program = feature_program(indicators) %}
  {% set readable = readable_features(program.features) %}
  {% set from = {
    'signals': work ~ 'signal', 'events': work ~ 'event', 'bars': work ~ 'bar', 'costs': work ~ 'cost', 'fills': work ~ 'fill',
    'series': work ~ 'series', 'spans': work ~ 'span', 'instants': work ~ 'instant', 'delistings': work ~ 'delisting', 'observed': none
  } %}
  {{ return(tojson({'error': none, 'refused': refused, 'steps': [
    ['bars', lab_bars(work)],
    ['features', feature_loop(program, work ~ 'walk', 'lab.nothing') ~ ';' ~ lab_features(work, program) ~ ';' ~ lab_data(work, spec, program)],
    ['signals', lab_events(work, grid, readable)],
    ['trades', fill_loop(work ~ 'fills', from, is_sparse=true, closes_at_end=(spec.ends == 'closed')) ~ ';' ~ lab_fills(work, spec)],
    ['metrics', series_spans(work ~ 'spans', from, (timeframes | unique | list | length) == 1) ~ ';' ~ lab_metrics(work, spec)],
    ['portfolios', portfolio_sums(work ~ 'portfolios', from) ~ ';' ~ lab_portfolios(work, spec)],
    ['equity of the best', equity_loop(work ~ 'equity', from) ~ ';' ~ lab_equity(work, spec)],
    ['clearing up', lab_drop(work)],
  ]})) }}
{% endmacro %}


{#- What the statements read, said while dbt reads the project: an error in a parameter is then one of the run. -#}
{% macro lab_references() %}
  {% do ref('dim_instrument') %}
  {% do ref('observed') %}
  {% do ref('fct_bars') %}
  {% do ref('gap') %}
  {% do ref('bars_per_year') %}
{% endmacro %}


{% macro lab_drop(work) %}
drop function {{ work }}walk, {{ work }}fills, {{ work }}spans, {{ work }}portfolios, {{ work }}equity;
drop table {{ work }}range, {{ work }}signal, {{ work }}cost, {{ work }}delisting, {{ work }}bar, {{ work }}instant, {{ work }}feature, {{ work }}event, {{ work }}fill,
{{ work }}trade, {{ work }}span, {{ work }}series, {{ work }}portfolio, {{ work }}portfolio_metric, {{ work }}deflation
{% endmacro %}
