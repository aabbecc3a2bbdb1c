{#- Volatility of a bar from its range, as the root of a mean over `bars` bars with a range (a low above zero). -#}
{% macro range_volatility(program, kernel, value, divisor, formula, source) %}
  {% set bars = parameter(program, 'bars') %}
  {% do about(program, 'volatility', ['fct_volatility'], source, nulls='until the window is full of bars with a low above zero') %}
  {% set mean = window_mean(program, value, bars, 'range') %}
  {% do feature(program, kernel ~ '_' ~ bars, 'case when ' ~ mean ~ ' is not null then sqrt(greatest(' ~ mean ~ ', 0)' ~ divisor ~ ') end', [mean], formula, 'log ratio per bar', window=bars) %}
  {% do annualised(program, kernel ~ '_' ~ bars, bars) %}
{% endmacro %}


{#- Per year, by the root of how many bars a year has: of the session's trading days, or of calendar days around the clock. -#}
{% macro annualised(program, name, window) %}
  {% do derived(program, name ~ '_annualised', name ~ ' * sqrt(bars_per_year)', name ~ ' * sqrt(bars per year)', 'log ratio per year', window=window) %}
{% endmacro %}


{% macro indicator_parkinson(program) %}
  {% do range_volatility(program, 'parkinson', 'range_squared', ' / 2.772588722239781',
    'sqrt(mean of ln(high / low)² / (4 ln 2))', 'Parkinson (1980)') %}
{% endmacro %}


{% macro indicator_garman_klass(program) %}
  {% do range_volatility(program, 'garman_klass', 'garman_klass_term', '',
    'sqrt(mean of ln(high / low)² / 2 - (2 ln 2 - 1) ln(close / open)²)', 'Garman & Klass (1980)') %}
{% endmacro %}


{% macro indicator_rogers_satchell(program) %}
  {% do range_volatility(program, 'rogers_satchell', 'rogers_satchell_term', '',
    'sqrt(mean of ln(high / close) ln(high / open) + ln(low / close) ln(low / open))', 'Rogers & Satchell (1991)') %}
{% endmacro %}


{#- bars: of how many returns. -#}
{% macro indicator_realised(program) %}
  {% set bars = parameter(program, 'bars') %}
  {% do about(program, 'volatility', ['fct_volatility'], 'close-to-close volatility', nulls='until the window is full of returns') %}
  {% set window = window_moments(program, 'log_return', bars, 'return') %}
  {% do feature(program, 'realised_' ~ bars, 'sqrt(squares_' ~ window ~ ' / ' ~ (bars - 1) ~ ')', ['squares_' ~ window],
    'sample deviation of the last ' ~ bars ~ ' log returns', 'log ratio per bar', window=bars + 1) %}
  {% do annualised(program, 'realised_' ~ bars, bars + 1) %}
{% endmacro %}
