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
    {% if value in at.steps %}{% do stepped(program, values, store, stream) %}{% else %}{% do at.rings.update({values: store}) %}{% endif %}
  {% endif %}
  {{ return(values) }}
{% endmacro %}


{#- The value `length` before this one. -#}
{% macro lagged(program, value, length, stream='bar') %}
  {% set values = ring(program, value, length, stream) %}
  {{ return(values ~ '[(' ~ program.streams[stream].counter ~ ' - ' ~ length ~ ') % ' ~ stream ~ '_size + 1]') }}
{% endmacro %}


{#-
  A statistic of the last values that a value changes by coming and another by going (`slide`), and that is taken anew from the ring when
  its window is full, at every 2048th bar (as seldom as not to cost by the length of the window), and where so much has gone that what is left may have lost digits (`is_worn`).
-#}
{% macro sliding(program, stream, name, length, longest, slide, anew, is_worn) %}
  {% do program.streams[stream].slides.update({name: {'length': length, 'slide': slide | trim, 'anew': anew | trim, 'is_worn': is_worn}}) %}
  {% if longest > program.streams[stream].longest %}{% do program.streams[stream].update({'longest': longest}) %}{% endif %}
{% endmacro %}


{#- All sliding statistics of a stream after its value has come: one question where nothing is worn, however many there are. -#}
{% macro slide_all(at) %}
  {%- if at.slides %}
    if {{ at.counter }} > {{ at.longest }} and not is_refresh then
      {%- for window in at.slides.values() %}
      {{ window.slide }}
      {%- endfor %}
      if {{ at.slides.values() | map(attribute='is_worn') | join(' or ') }} then
        {%- for window in at.slides.values() %}
        {{ window.anew }}
        {%- endfor %}
      end if;
    else
      {%- for window in at.slides.values() %}
      if {{ at.counter }} > {{ window.length }} and not is_refresh then
        {{ window.slide }}
      end if;
      if {{ at.counter }} = {{ window.length }} or {{ at.counter }} > {{ window.length }} and (is_refresh or {{ window.is_worn }}) then
        {{ window.anew }}
      end if;
      {%- endfor %}
    end if;
  {%- endif %}
{%- endmacro %}


{#- The value that leaves a window of `length` as one comes, by name. -#}
{% macro going(program, value, length, stream, longest) %}
  {% set name = 'going_' ~ value ~ '_' ~ length %}
  {% do ring(program, value, longest, stream) %}
  {% do program.locals.update({name: 'float8', 'at': 'integer'}) %}
  {{ return(name) }}
{% endmacro %}


{#- The mean of a window from its ring, about the newest value: of equal values it is that value, to the last bit. -#}
{% macro mean_anew(mean, value, stream, counter, length) %}
        {{ mean }} := 0;
        for at in {{ counter }} - {{ length }} + 1..{{ counter }} loop
          {{ mean }} := {{ mean }} + ({{ value }}_ring[at % {{ stream }}_size + 1] - {{ value }});
        end loop;
        {{ mean }} := {{ value }} + {{ mean }} / {{ length }};
{% endmacro %}


{#- The mean of the last `length` values. -#}
{% macro window_mean(program, value, length, stream='bar') %}
  {% set at = program.streams[stream] %}
  {% set moments = 'mean_' ~ value ~ '_' ~ length %}
  {% if moments in program.scalars %}{{ return(moments) }}{% endif %}
  {% set name = 'sma_' ~ value ~ '_' ~ length %}
  {% set gone = going(program, value, length, stream, length) %}
  {% do remembered(program, name) %}
  {% set slide %}
      {{ gone }} := {{ value }}_ring[({{ at.counter }} - {{ length }}) % {{ stream }}_size + 1];
      {{ name }} := {{ name }} + ({{ value }} - {{ gone }}) / {{ length }};
  {% endset %}
  {% set anew %}
        {{ mean_anew(name, value, stream, at.counter, length) | trim }}
  {% endset %}
  {% do sliding(program, stream, name, length, length, slide, anew, 'abs(' ~ gone ~ ') > 1e3::float8 * abs(' ~ name ~ ')') %}
  {{ return(name) }}
{% endmacro %}


{#-
  The mean of the last values and the sum of squares about it, as mean_<name> and squares_<name>; returns the name. Welford's update
  both ways. `length` may be a variable, then `longest` says how long it can be. Of a level such as a price, a window that is all but flat is
  taken anew: what the mean has gathered in sliding, some ulps, is no longer small beside a deviation of a millionth of it.
-#}
{% macro window_moments(program, value, length, stream='bar', longest=none, is_level=false) %}
  {% set name = value ~ '_' ~ length %}
  {% set k = program.streams[stream].counter %}
  {% set gone = going(program, value, length, stream, longest or length) %}
  {% for variable in ['mean_', 'squares_', 'peak_'] %}{% do remembered(program, variable ~ name) %}{% endfor %}
  {% set slide %}
      {{ gone }} := {{ value }}_ring[({{ k }} - {{ length }}) % {{ stream }}_size + 1];
      squares_{{ name }} := squares_{{ name }}
        + ({{ value }} - {{ gone }}) * ({{ value }} - mean_{{ name }} + {{ gone }} - mean_{{ name }} - ({{ value }} - {{ gone }}) / {{ length }});
      mean_{{ name }} := mean_{{ name }} + ({{ value }} - {{ gone }}) / {{ length }};
      peak_{{ name }} := greatest(peak_{{ name }}, squares_{{ name }});
  {% endset %}
  {% set anew %}
        {{ mean_anew('mean_' ~ name, value, stream, k, length) | trim }}
        squares_{{ name }} := 0;
        for at in {{ k }} - {{ length }} + 1..{{ k }} loop
          squares_{{ name }} := squares_{{ name }} + ({{ value }}_ring[at % {{ stream }}_size + 1] - mean_{{ name }}) ^ 2;
        end loop;
        peak_{{ name }} := squares_{{ name }};
  {% endset %}
  {% set is_worn = 'squares_' ~ name ~ ' < 1e-3::float8 * peak_' ~ name %}
  {% if is_level %}
    {% set is_worn = is_worn ~ ' or squares_' ~ name ~ ' <> 0 and sqrt(abs(squares_' ~ name ~ ')) < 1e-5::float8 * abs(mean_' ~ name ~ ')' %}
  {% endif %}
  {% do sliding(program, stream, name, length, longest or length, slide, anew, is_worn) %}
  {{ return(name) }}
{% endmacro %}


{#-
  The highest high and the lowest low of the last `length` bars, by name, after van Herk (1992): of the part of the last whole block that is
  still in the window, whose extremes from each place to its end were noted when it was whole, and of the block begun.
-#}
{% macro window_extremes(program, length) %}
  {% set highest = 'highest_' ~ length %}
  {% set lowest = 'lowest_' ~ length %}
  {% set names = [(highest, 'high', 'greatest'), (lowest, 'low', 'least')] %}
  {% set place = 'place_' ~ length %}
  {% do program.locals.update({place: 'integer', 'at': 'integer'}) %}
  {% for name, value, which in names %}
    {% do ring(program, value, length) %}
    {% do remembered(program, name) %}
    {% do remembered(program, 'begun_' ~ name) %}
    {% do program.arrays.update({'rest_' ~ name: length}) %}
  {% endfor %}
  {% set step %}
      {{ place }} := n % {{ length }};
      if {{ place }} > 1 then
  {%- for name, value, which in names %}
        begun_{{ name }} := {{ which }}(begun_{{ name }}, {{ value }});
        {{ name }} := {{ which }}(begun_{{ name }}, rest_{{ name }}[{{ place }} + 1]);
  {%- endfor %}
      elsif {{ place }} = 1 then
  {%- for name, value, which in names %}
        begun_{{ name }} := {{ value }};
        {{ name }} := {{ which }}({{ value }}, rest_{{ name }}[2]);
  {%- endfor %}
      else
  {%- for name, value, which in names %}
        {{ name }} := {{ value }};
        for at in reverse {{ length }}..1 loop
          {{ name }} := {{ which }}({{ name }}, {{ value }}_ring[(n - {{ length }} + at) % bar_size + 1]);
          rest_{{ name }}[at] := {{ name }};
        end loop;
  {%- endfor %}
      end if;
  {%- endset %}
  {% do stepped(program, 'extremes_' ~ length, step) %}
  {{ return({'highest': highest, 'lowest': lowest}) }}
{% endmacro %}


{#-
  Quantiles of the last `length` values, by linear interpolation between the two around each (Hyndman & Fan 1996, type 7, as
  percentile_cont). Of each, the values around its rank are kept sorted, and how many lie below them: most values come and go outside,
  on one side, and change nothing. When the rank leaves them the window is sorted anew. What is computed depends on the window alone.
-#}
{% macro window_quantiles(program, value, length, percents, stream='bar') %}
  {% set k = program.streams[stream].counter %}
  {% set gone = going(program, value, length, stream, length) %}
  {% set names = [] %}
  {% set step %}
      if {{ k }} >= {{ length }} then
        {{ gone }} := {{ value }}_ring[({{ k }} - {{ length }}) % {{ stream }}_size + 1];
      end if;
      if {{ k }} >= {{ length }} and ({{ value }} <> {{ gone }} or sorted is null) then
  {%- for percent in percents %}
    {%- set suffix = value ~ '_' ~ length ~ '_' ~ (percent | string | replace('.', '_')) %}
    {%- set near, low, high, below = 'near_' ~ suffix, 'low_' ~ suffix, 'high_' ~ suffix, 'below_' ~ suffix %}
    {%- set size, most = 'size_' ~ suffix, 'most_' ~ suffix %}
    {%- set exact = (length - 1) * percent / 100 %}
    {%- set rank = exact | int + 1 %}
    {%- do names.append('quantile_' ~ suffix) %}
    {%- do remembered(program, 'quantile_' ~ suffix) %}
    {%- do program.locals.update({
      near: 'float8[]', low: 'float8', high: 'float8', below: 'integer', size: 'integer := 0', most: 'integer',
      'is_moved': 'boolean', 'sorted': 'float8[]'
    }) %}
        is_moved := {{ size }} = 0;
        if {{ gone }} between {{ low }} and {{ high }} or {{ value }} between {{ low }} and {{ high }} then
          is_moved := true;
          if {{ gone }} < {{ low }} then
            {{ below }} := {{ below }} - 1;
          elsif {{ gone }} <= {{ high }} then
            at := width_bucket({{ gone }}, {{ near }});
            {{ near }} := {{ near }}[:at - 1] || {{ near }}[at + 1:];
            {{ size }} := {{ size }} - 1;
          end if;
          if {{ value }} < {{ low }} then
            {{ below }} := {{ below }} + 1;
          elsif {{ value }} <= {{ high }} then
            at := width_bucket({{ value }}, {{ near }});
            {{ near }} := {{ near }}[:at] || {{ value }} || {{ near }}[at + 1:];
            {{ size }} := {{ size }} + 1;
          end if;
        elsif ({{ value }} < {{ low }}) <> ({{ gone }} < {{ low }}) then
          is_moved := true;
          {{ below }} := {{ below }} + case when {{ value }} < {{ low }} then 1 else -1 end;
        end if;
        if is_moved then
          if {{ size }} = 0 or {{ size }} > {{ most }} or {{ below }} not between {{ rank + 1 }} - {{ size }} and {{ rank - 1 }} then
            sorted := array(
              select {{ value }}_ring[place % {{ stream }}_size + 1]
              from generate_series({{ k }} - {{ length - 1 }}, {{ k }}) as place
              order by 1
            );
            {{ low }} := sorted[{{ [rank - 16, 1] | max }}];
            {{ high }} := sorted[{{ [rank + 17, length] | min }}];
            {{ below }} := array_position(sorted, {{ low }}) - 1;
            {{ near }} := sorted[{{ below }} + 1:width_bucket({{ high }}, sorted)];
            {{ size }} := cardinality({{ near }});
            {{ most }} := {{ size }} + 66;
          end if;
          {{ names[-1] }} := {{ near }}[{{ rank }} - {{ below }}]
    {%- if exact > rank - 1 %} + (
            {{ near }}[{{ rank + 1 }} - {{ below }}] - {{ near }}[{{ rank }} - {{ below }}]
          ) * {{ exact - rank + 1 }}::float8{% endif %};
        end if;
  {%- endfor %}
      end if;
  {%- endset %}
  {% do stepped(program, 'quantiles_' ~ value ~ '_' ~ length, step, stream) %}
  {{ return(names) }}
{% endmacro %}


{#-
  How far the mean of the last values lies from the newest, and their mean distance from it: each of them is looked at, at every bar, in two
  statements. Measured from the newest value both keep their digits however close the values are, and are nothing where all are equal. The
  values stand in an array of their own, which is theirs alone and so needs no reckoning of places.
-#}
{% macro window_distances(program, value, length) %}
  {% set last = 'last_' ~ value ~ '_' ~ length %}
  {% do program.arrays.update({last: length}) %}
  {% do stepped(program, last, last ~ '[n % ' ~ length ~ ' + 1] := ' ~ value ~ ';') %}
  {% set offset = 'offset_' ~ value ~ '_' ~ length %}
  {% set offsets, distances = [], [] %}
  {% for at in range(1, length + 1) %}
    {% do offsets.append('(' ~ last ~ '[' ~ at ~ '] - ' ~ value ~ ')') %}
    {% do distances.append('abs(' ~ last ~ '[' ~ at ~ '] - ' ~ value ~ ' - ' ~ offset ~ ')') %}
  {% endfor %}
  {% do computed(program, offset, '(' ~ offsets | join(' + ') ~ ') / ' ~ length, after_windows=true) %}
  {% set deviation = computed(
    program, 'deviation_' ~ value ~ '_' ~ length, '(' ~ distances | join(' + ') ~ ') / ' ~ length, after_windows=true
  ) %}
  {{ return({'offset': offset, 'deviation': deviation}) }}
{% endmacro %}
