{#- The fast mean begins late, so that both means end their seeds at the same bar; the signal's seed begins there. -#}
{% macro indicator_macd(program) %}
  {% set fast = parameter(program, 'fast') %}
  {% set slow = parameter(program, 'slow', least=fast + 1) %}
  {% set signal = parameter(program, 'signal', least=1) %}
  {% do about(program, 'macd', ['fct_indicators'], 'Appel (1979); TA-Lib MACD',
    seeding='means of the last fast and of the first slow closes at bar slow; the signal the mean of its first values') %}
  {% set suffix = '_' ~ fast ~ '_' ~ slow ~ '_' ~ signal %}
  {% set fast_mean = exponential_mean(program, 'close', fast, after=slow - fast) %}
  {% set slow_mean = exponential_mean(program, 'close', slow) %}
  {% set signal_mean = recursive_mean(program, 'signal' ~ suffix, '(' ~ fast_mean ~ ' - ' ~ slow_mean ~ ')', signal,
    '(2::float8 / ' ~ (signal + 1) ~ ')', after=slow - 1) %}
  {% set first = slow + signal - 1 %}
  {% set unstable = unstable_bars(2 / (slow + 1)) %}
  {% do feature(program, 'macd' ~ suffix, fast_mean ~ ' - ' ~ slow_mean, [fast_mean, slow_mean], 'ema(fast) - ema(slow)', 'price',
    first=first, window=first, unstable=unstable) %}
  {% do feature(program, 'macd_signal' ~ suffix, signal_mean, [signal_mean], 'ema(signal) of macd', 'price', first=first, window=first,
    unstable=unstable) %}
  {% do derived(program, 'macd_histogram' ~ suffix, 'macd' ~ suffix ~ ' - macd_signal' ~ suffix, 'macd - signal', 'price', window=first,
    unstable=unstable) %}
{% endmacro %}
