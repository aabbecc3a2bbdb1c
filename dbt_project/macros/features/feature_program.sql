{#-
  The features of a bar as one program: what each enabled indicator declares, to be compiled into one PL/pgSQL function that walks a
  series bar by bar (feature_loop) and the columns made of what it returns (feature_columns).

  An indicator is a macro `indicator_<kernel>(program)`. It takes its parameters (parameter), asks for what it is made of and says
  what it makes:

  exponential_mean, wilder_mean, wilder_sum        recursions over a value of the bar (recursions.sql)
  window_mean, window_moments, window_extremes,    over the last values, at a cost that does not grow with their number
  window_quantiles, lagged                         (windows.sql)
  window_distances                                 over the last values, each of which it looks at
  computed, stepped, remembered                    a step of its own
  feature, derived                                 a column that is stored, and one that the views make of those

  Asked for twice, a thing is computed once. A value of the bar is one of bar_value (bar_values.sql) or a step already taken.
-#}
{% macro feature_program(indicators) %}
  {% set program = {
    'table': 'indicator', 'kind': 'kernel',
    'inputs': {}, 'scalars': {}, 'arrays': {}, 'locals': {}, 'emitted': {}, 'flushed': [], 'prologue': [],
    'streams': {
      'bar': {'counter': 'n', 'rings': {}, 'steps': {}, 'slides': {}, 'longest': 0, 'after': {}, 'size': 2},
      'return': {'counter': 'return_count', 'value': 'log_return', 'rings': {}, 'steps': {}, 'slides': {}, 'longest': 0, 'after': {}, 'size': 2},
      'range': {'counter': 'range_count', 'value': 'range_return', 'rings': {}, 'steps': {}, 'slides': {}, 'longest': 0, 'after': {}, 'size': 2},
    },
    'features': [], 'warm_from': 1,
  } %}
  {% for row in indicators %}
    {% set declaration = context.get('indicator_' ~ row.kernel) %}
    {% do program.update({'row': row, 'taken': [], 'about': {}}) %}
    {% if declaration is none %}
      {% do refuse_row(program, "there is no kernel '" ~ row.kernel ~ "'; there are " ~ (known_kernels() | join(', '))) %}
    {% endif %}
    {% do declaration(program) %}
    {% for name in row.params if name not in program.taken %}
      {% do refuse_row(program, "the kernel '" ~ row.kernel ~ "' has no parameter '" ~ name ~ "'; it takes " ~ (program.taken | join(', '))) %}
    {% endfor %}
  {% endfor %}
  {{ return(program) }}
{% endmacro %}


{#-
  A row that makes no sense stops the build. Where `refusals` is a list, as of a grid, it is noted there instead: is_fatal says that no other
  combination of the grid makes more sense.
-#}
{% macro refuse_row(program, what, is_fatal=false) %}
  {% if program.refusals is defined %}
    {% do program.refusals.append({'what': what, 'is_fatal': is_fatal}) %}
  {% else %}
    {% do exceptions.raise_compiler_error(
      "config." ~ program.table ~ ", row '" ~ program.row[program.table] ~ "' (" ~ program.row[program.kind] ~ ' '
      ~ tojson(program.row.params) ~ '): ' ~ what
      ~ ". Correct the row, or set is_enabled to false, and build again."
    ) %}
  {% endif %}
{% endmacro %}


{#- A parameter of the row: a number, whole unless it may have a fraction, within its bounds. -#}
{% macro parameter(program, name, least=2, most=10000, is_whole=true) %}
  {% do program.taken.append(name) %}
  {{ return(checked_number(program, name, program.row.params.get(name), least, most, is_whole)) }}
{% endmacro %}


{#- The number; or the least that it may be, where it is refused and the program goes on. -#}
{% macro checked_number(program, name, value, least, most, is_whole) %}
  {% set refusals = program.refusals | default([]) | length %}
  {% if value is none %}
    {% do refuse_row(program, "parameter '" ~ name ~ "' is missing", is_fatal=true) %}
  {% elif value is boolean or value is not number %}
    {% do refuse_row(program, "parameter '" ~ name ~ "' is " ~ tojson(value) ~ ", not a number", is_fatal=true) %}
  {% elif is_whole and value != value | int %}
    {% do refuse_row(program, "parameter '" ~ name ~ "' is " ~ value ~ ", not a whole number") %}
  {% elif value < least or value > most %}
    {% do refuse_row(program, "parameter '" ~ name ~ "' is " ~ value ~ ", outside " ~ least ~ " to " ~ most) %}
  {% endif %}
  {% if program.refusals | default([]) | length > refusals %}{{ return(least) }}{% endif %}
  {{ return(value | int if is_whole or value == value | int else value) }}
{% endmacro %}


{#- What is true of all columns of the row: the family and the views that show it, its source, how it begins, when it is null. -#}
{% macro about(program, family, views, source, seeding='none: a function of its window', nulls=none) %}
  {% do program.update({'about': {'family': family, 'views': views, 'source': source, 'seeding': seeding, 'nulls': nulls}}) %}
{% endmacro %}


{#-
  A stored column of bar_features.

  sql       over `values`, the names of steps and of bar_value, and the columns closed_at, close and n of a bar
  first     the number of the first bar that has it, counted from 1; what a window does not have yet is null by itself
  window    how many bars it looks at; for a recursion, those that its seed takes
  unstable  how many bars after the first until less than a thousandth of its seed is left in a recursion
-#}
{% macro feature(program, name, sql, values, formula, unit, first=none, window=1, unstable=0) %}
  {% for value in values %}{% do program.emitted.update({value: true}) %}{% endfor %}
  {% set shown = 'case when n >= ' ~ first ~ ' then ' ~ sql ~ ' end' if first and first > 1 else sql %}
  {% do add_feature(program, name, shown, formula, unit, window, unstable, true) %}
{% endmacro %}


{#- A column that the views compute from stored ones of the same row: nothing of it is kept. -#}
{% macro derived(program, name, sql, formula, unit, window=1, unstable=0) %}
  {% do add_feature(program, name, sql, formula, unit, window, unstable, false) %}
{% endmacro %}


{% macro add_feature(program, name, sql, formula, unit, window, unstable, is_stored) %}
  {% for other in program.features if other.name == name %}
    {% do refuse_row(program, "its column " ~ name ~ " is that of row '" ~ other.indicator ~ "' already") %}
  {% endfor %}
  {% if name | length > 63 %}
    {% do refuse_row(program, "its column " ~ name ~ " is longer than the 63 characters of a name") %}
  {% endif %}
  {% do program.features.append(dict(
    program.about, name=name, sql=sql, formula=formula, unit=unit, window=window, unstable=unstable, is_stored=is_stored,
    indicator=program.row.indicator, kernel=program.row.kernel, params=program.row.params
  )) %}
{% endmacro %}


{#- Kept from bar to bar: part of the state at a checkpoint. -#}
{% macro remembered(program, name, initial='null') %}
  {% do program.scalars.update({name: initial}) %}
{% endmacro %}


{#-
  One step of every bar, in the order of asking: `name := sql`. Nothing of it is kept from bar to bar unless it is remembered. Windows slide
  after all steps; what is made of a mean or of moments is a step after_windows. `warm` is what it comes to from bar warm_from on: the walk
  asks once for all steps whether they are.
-#}
{% macro computed(program, name, sql, stream='bar', after_windows=false, warm=none, warm_from=1) %}
  {% if name not in program.scalars %}{% do program.locals.update({name: 'float8'}) %}{% endif %}
  {% if warm_from > program.warm_from %}{% do program.update({'warm_from': warm_from}) %}{% endif %}
  {% do program.streams[stream]['after' if after_windows else 'steps'].update({
    name: {'cold': name ~ ' := ' ~ sql ~ ';', 'warm': name ~ ' := ' ~ (warm or sql) ~ ';'}
  }) %}
  {{ return(name) }}
{% endmacro %}


{#- A step of more than one statement, the same at every bar. -#}
{% macro stepped(program, name, statements, stream='bar') %}
  {% do program.streams[stream].steps.update({name: {'cold': statements | trim, 'warm': statements | trim}}) %}
{% endmacro %}


{#- The kernels there are: the macros indicator_<kernel>. -#}
{% macro known_kernels() %}
  {% set kernels = [] %}
  {% for name in context if name.startswith('indicator_') %}
    {% do kernels.append(name[10:]) %}
  {% endfor %}
  {{ return(kernels | sort) }}
{% endmacro %}


{#- How many bars until less than a thousandth of a seed is left, when a bar takes `part` of it away: found by halving. -#}
{% macro unstable_bars(part) %}
  {% set bars = namespace(enough=131072) %}
  {% for at in range(17) %}
    {% set fewer = bars.enough - 65536 // 2 ** at %}
    {% if (1 - part) ** fewer < 0.001 %}{% set bars.enough = fewer %}{% endif %}
  {% endfor %}
  {{ return(bars.enough) }}
{% endmacro %}
