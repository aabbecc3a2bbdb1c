{#-
  The last values of something, in an array that all windows over it share: value k stands at k % size + 1. `stream` says what counts
  as a value: every bar, every bar with a return, or every bar with a range.
-#}
{% macro ring(program, value, length, stream='bar') %}
  {% set at = program.streams[stream] %}
  {% do bar_value(program, value) %}
  {% if at.value is defined %}{% do bar_value(program, at.value) %}{% endif %}
  {% if length + 1 > at.size %}{% do at.update({'size': length + 1}) %}{% endif %}
  {% set values = value ~ '_ring' %}
  {% if values not in program.arrays %}
    {% do program.arrays.update({values: stream ~ '_size'}) %}
    {% set store = values ~ '[' ~ at.counter ~ ' % ' ~ stream ~ '_size + 1] := ' ~ value ~ ';' %}
    {#- What is a step itself is stored after it, and the bar's own values before all steps. #}
    {% do (at.steps if value in at.steps else at.rings).update({values: store}) %}
  {% endif %}
  {{ return(values) }}
{% endmacro %}


{#- The value `length` before this one. -#}
{% macro lagged(program, value, length, stream='bar') %}
  {% set values = ring(program, value, length, stream) %}
  {{ return(values ~ '[(' ~ program.streams[stream].counter ~ ' - ' ~ length ~ ') % ' ~ stream ~ '_size + 1]') }}
{% endmacro %}


{#- The mean of the last `length` values. A value comes, a value goes; taken anew where what went outweighs what is left. -#}
{% macro window_mean(program, value, length, stream='bar') %}
  {% set moments = 'mean_' ~ value ~ '_' ~ length %}
  {% if moments in program.scalars %}{{ return(moments) }}{% endif %}
  {% set name = 'sma_' ~ value ~ '_' ~ length %}
  {% set gone = lagged(program, value, length, stream) %}
  {% set k = program.streams[stream].counter %}
  {% do remembered(program, name) %}
  {% do program.locals.update({'gone': 'float8', 'at': 'integer'}) %}
  {% set step %}
      if {{ k }} > {{ length }} then
        gone := {{ gone }};
        {{ name }} := {{ name }} + ({{ value }} - gone) / {{ length }};
      end if;
      if {{ k }} >= {{ length }} and (is_refresh or {{ k }} = {{ length }} or abs(gone) > 1e3::float8 * abs({{ name }})) then
        {{ name }} := 0;
        for at in {{ k }} - {{ length - 1 }}..{{ k }} loop
          {{ name }} := {{ name }} + {{ value }}_ring[at % {{ stream }}_size + 1];
        end loop;
        {{ name }} := {{ name }} / {{ length }};
      end if;
  {%- endset %}
  {% do program.streams[stream].steps.update({name: step | trim}) %}
  {{ return(name) }}
{% endmacro %}


{#-
  The mean of the last values and the sum of squares about it, as mean_<name> and squares_<name>; returns the name. Welford's update
  both ways: a value comes, a value goes. Where so much has gone that what is left may have lost digits, and at every checkpoint, both are
  taken anew. `length` may be a variable, then `longest` says how long it can be.
-#}
{% macro window_moments(program, value, length, stream='bar', longest=none) %}
  {% set name = value ~ '_' ~ length %}
  {% set k = program.streams[stream].counter %}
  {% set values = ring(program, value, longest or length, stream) %}
  {% for variable in ['mean_', 'squares_', 'peak_'] %}{% do remembered(program, variable ~ name) %}{% endfor %}
  {% do program.locals.update({'gone': 'float8', 'mean_before': 'float8', 'at': 'integer'}) %}
  {% set step %}
      if {{ k }} > {{ length }} then
        gone := {{ values }}[({{ k }} - {{ length }}) % {{ stream }}_size + 1];
        mean_before := mean_{{ name }};
        mean_{{ name }} := mean_before + ({{ value }} - gone) / {{ length }};
        squares_{{ name }} := squares_{{ name }} + ({{ value }} - gone) * ({{ value }} - mean_{{ name }} + gone - mean_before);
        if squares_{{ name }} > peak_{{ name }} then
          peak_{{ name }} := squares_{{ name }};
        end if;
      end if;
      if {{ k }} >= {{ length }}
        and (is_refresh or {{ k }} = {{ length }} or squares_{{ name }} < 1e-3::float8 * peak_{{ name }}) then
        mean_{{ name }} := 0;
        for at in {{ k }} - {{ length }} + 1..{{ k }} loop
          mean_{{ name }} := mean_{{ name }} + {{ values }}[at % {{ stream }}_size + 1];
        end loop;
        mean_{{ name }} := mean_{{ name }} / {{ length }};
        squares_{{ name }} := 0;
        for at in {{ k }} - {{ length }} + 1..{{ k }} loop
          squares_{{ name }} := squares_{{ name }} + ({{ values }}[at % {{ stream }}_size + 1] - mean_{{ name }}) ^ 2;
        end loop;
        peak_{{ name }} := squares_{{ name }};
      end if;
  {%- endset %}
  {% do program.streams[stream].steps.update({'moments_' ~ name: step | trim}) %}
  {{ return(name) }}
{% endmacro %}


{#-
  The greatest or least of the last `length` values (which: `greatest`, `least`), after van Herk (1992): of the part of the last whole block
  that is still in the window, whose extremes from each place to its end were noted when it was whole, and of the block begun.
-#}
{% macro window_extreme(program, value, length, which) %}
  {% set values = ring(program, value, length) %}
  {% set name = which ~ '_' ~ value ~ '_' ~ length %}
  {% do remembered(program, name) %}
  {% do remembered(program, 'begun_' ~ name) %}
  {% do program.arrays.update({'rest_' ~ name: length}) %}
  {% do program.locals.update({'extreme': 'float8', 'place': 'integer'}) %}
  {% set step %}
      if n % {{ length }} = 1 then
        begun_{{ name }} := {{ value }};
      else
        begun_{{ name }} := {{ which }}(begun_{{ name }}, {{ value }});
      end if;
      if n % {{ length }} = 0 then
        {{ name }} := begun_{{ name }};
        extreme := {{ value }};
        for place in reverse {{ length }}..1 loop
          extreme := {{ which }}(extreme, {{ values }}[(n - {{ length }} + place) % bar_size + 1]);
          rest_{{ name }}[place] := extreme;
        end loop;
      else
        {{ name }} := {{ which }}(begun_{{ name }}, rest_{{ name }}[n % {{ length }} + 1]);
      end if;
  {%- endset %}
  {% do program.streams.bar.steps.update({name: step | trim}) %}
  {{ return(name) }}
{% endmacro %}


{#-
  Quantiles of the last `length` values, by linear interpolation between the two around each (Hyndman & Fan 1996, type 7, as
  percentile_cont). Of each, the 34 values around its rank are kept sorted, and how many lie below them: most values come and go outside
  and only move the count. When the rank leaves them the window is sorted anew. What is computed depends on the window
  alone, so nothing of this is part of a checkpoint.
-#}
{% macro window_quantiles(program, value, length, percents, stream='bar') %}
  {% set k = program.streams[stream].counter %}
  {% set values = ring(program, value, length, stream) %}
  {% do program.locals.update({'gone': 'float8', 'at': 'integer'}) %}
  {% set names = [] %}
  {% set step %}
      if {{ k }} >= {{ length }} then
        gone := {{ values }}[({{ k }} - {{ length }}) % {{ stream }}_size + 1];
  {%- for percent in percents %}
    {%- set name = 'quantile_' ~ value ~ '_' ~ length ~ '_' ~ (percent | string | replace('.', '_')) %}
    {%- set exact = (length - 1) * percent / 100 %}
    {%- set rank = exact | int + 1 %}
    {%- do names.append(name) %}
    {%- do remembered(program, name) %}
    {%- do program.locals.update({
      'near_' ~ name: 'float8[]', 'size_' ~ name: 'integer := 0', 'below_' ~ name: 'integer := 0'
    }) %}
        if size_{{ name }} > 0 and {{ value }} <> gone then
          if gone < near_{{ name }}[1] then
            below_{{ name }} := below_{{ name }} - 1;
          elsif gone <= near_{{ name }}[size_{{ name }}] then
            at := width_bucket(gone, near_{{ name }});
            near_{{ name }} := near_{{ name }}[:at - 1] || near_{{ name }}[at + 1:];
            size_{{ name }} := size_{{ name }} - 1;
          end if;
          if {{ value }} < near_{{ name }}[1] then
            below_{{ name }} := below_{{ name }} + 1;
          elsif {{ value }} <= near_{{ name }}[size_{{ name }}] then
            at := width_bucket({{ value }}, near_{{ name }});
            near_{{ name }} := near_{{ name }}[:at] || {{ value }} || near_{{ name }}[at + 1:];
            size_{{ name }} := size_{{ name }} + 1;
          end if;
        end if;
        if {{ rank }} <= below_{{ name }} or {{ rank + 1 }} > below_{{ name }} + size_{{ name }} or size_{{ name }} > 100 then
          near_{{ name }} := array(
            select {{ values }}[place % {{ stream }}_size + 1]
            from generate_series({{ k }} - {{ length - 1 }}, {{ k }}) as place
            order by 1 offset {{ [rank - 17, 0] | max }} limit 34
          );
          below_{{ name }} := {{ [rank - 17, 0] | max }};
          size_{{ name }} := cardinality(near_{{ name }});
        end if;
        {{ name }} := near_{{ name }}[{{ rank }} - below_{{ name }}]
    {%- if exact > rank - 1 %} + (
          near_{{ name }}[{{ rank + 1 }} - below_{{ name }}] - near_{{ name }}[{{ rank }} - below_{{ name }}]
        ) * {{ exact - rank + 1 }}::float8{% endif %};
  {%- endfor %}
      end if;
  {%- endset %}
  {% do program.streams[stream].steps.update({'quantiles_' ~ value ~ '_' ~ length: step | trim}) %}
  {{ return(names) }}
{% endmacro %}
