{#-
  The program as a PL/pgSQL function of one series: a row per bar that closes from first_at on, with what the columns are made of. No
  row if first_at is null.

  Every 256th bar's row holds a checkpoint: all that is kept from bar to bar. A walk that begins later takes up the last checkpoint
  before first_at, and computes the same to the last bit, wherever it begins. Bars whose candles are gone (ops.horizon) cannot be walked
  again: such a series always begins at the last checkpoint before its horizon.

  An integer counter saves a fifth of the time over a bigint; what statements cost is told in docs/features.md.
-#}
{% macro feature_loop(program, name, standing) %}
{%- set scalars = program.scalars | list %}
{%- set previous = ['previous_close', 'previous_high', 'previous_low', 'reference_close'] %}
{%- set kept = ['n', 'return_count', 'range_count', 'bars_since_outage'] + previous + scalars %}
create or replace function {{ name }}(series_instrument integer, series_timeframe text, first_at timestamptz)
returns table (
  opened_at timestamptz,
  closed_at timestamptz,
  close float8,
  gap_before text,
  n integer,
  bars_since_outage integer,
  checkpoint float8[]
  {%- for value in program.emitted %},
  {{ value }} float8
  {%- endfor %}
)
language plpgsql stable strict parallel safe
cost 1000000
as $walk$
#variable_conflict use_column
declare
  signature constant float8 := {{ local_md5(program | string)[:12] | int(base=16) }};
  {%- for stream, at in program.streams.items() %}
  {{ stream }}_size constant integer := {{ at.size }};
  {%- endfor %}
  is_24_7 boolean;
  begins_at timestamptz;
  resumed_at timestamptz := '-infinity';
  resumed float8[];
  gaps refcursor;
  gap_at timestamptz;
  gap_kind text;
  is_refresh boolean;
  return_count integer := 0;
  range_count integer := 0;
  {%- for variable in ['open', 'high', 'low', 'volume'] + previous if variable not in program.emitted %}
  {{ variable }} float8;
  {%- endfor %}
  {%- for variable in program.inputs if variable not in program.emitted %}
  {{ variable }} float8;
  {%- endfor %}
  {%- for variable, type in program.locals.items() if variable not in program.emitted %}
  {{ variable }} {{ type }};
  {%- endfor %}
  {%- for variable, initial in program.scalars.items() if variable not in program.emitted %}
  {{ variable }} float8 := {{ initial }};
  {%- endfor %}
  {%- for variable, length in program.arrays.items() %}
  {{ variable }} float8[] := array_fill(null::float8, array[{{ length }}]);
  {%- endfor %}
begin
  n := 0;
  {%- for variable, initial in program.scalars.items() if variable in program.emitted and initial != 'null' %}
  {{ variable }} := {{ initial }};
  {%- endfor %}

  select instrument.is_24_7 into is_24_7
  from {{ ref('dim_instrument') }} as instrument
  where instrument.instrument_id = series_instrument;
  {%- for statement in program.prologue %}
  {{ statement }}
  {%- endfor %}

  begins_at := {{ first_not_frozen() }};
  if begins_at > '-infinity' and to_regclass('{{ standing }}') is not null then
    select row.closed_at, row.checkpoint into resumed_at, resumed
    from {{ standing }} as row
    where
      row.instrument_id = series_instrument
      and row.timeframe = series_timeframe
      and row.closed_at < begins_at
      and row.checkpoint[1] = signature
    order by row.closed_at desc
    limit 1;
  end if;
  if resumed is null then
    resumed_at := '-infinity';
  else
    {%- for variable in kept %}
    {{ variable }} := resumed[{{ loop.index + 1 }}];
    {%- endfor %}
    {%- set lengths = ['1', kept | length | string] %}
    {%- for variable, length in program.arrays.items() %}
    {{ variable }} := resumed[{{ lengths | join(' + ') }} + 1:{{ lengths | join(' + ') }} + {{ length }}];
    {%- do lengths.append(length | string) %}
    {%- endfor %}
  end if;

  open gaps for
  select gap.closed_at, gap.gap_kind
  from {{ ref('gap') }} as gap
  where gap.instrument_id = series_instrument and gap.timeframe = series_timeframe and gap.closed_at > resumed_at
  order by gap.closed_at;
  fetch gaps into gap_at, gap_kind;

  for opened_at, closed_at, open, high, low, close, volume in
    select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume
    from {{ ref('fct_bars') }} as bar
    where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and bar.closed_at > resumed_at
    order by bar.closed_at
  loop
    n := n + 1;
    bars_since_outage := bars_since_outage + 1;
    if gap_at <= closed_at then
      gap_before := gap_kind;
      if gap_kind in ('outage', 'not_fetched') then
        bars_since_outage := 0;
        reference_close := null;
      end if;
      fetch gaps into gap_at, gap_kind;
    end if;
    is_refresh := n % 2048 = 0;
    {%- for statement in program.inputs.values() %}
    {{ statement }}
    {%- endfor %}
    {%- for store in program.streams.bar.rings.values() %}
    {{ store }}
    {%- endfor %}
    if n >= {{ program.warm_from }} then
      {%- for step in program.streams.bar.steps.values() %}
      {{ step.warm }}
      {%- endfor %}
    else
      {%- for step in program.streams.bar.steps.values() %}
      {{ step.cold }}
      {%- endfor %}
    end if;
    {{- slide_all(program.streams.bar) }}
    {%- for step in program.streams.bar.after.values() %}
    {{ step.cold }}
    {%- endfor %}
    {%- for stream, at in program.streams.items() if stream != 'bar' and at.rings %}
    if {{ at.value }} is not null then
      {{ at.counter }} := {{ at.counter }} + 1;
      {%- for store in at.rings.values() %}
      {{ store }}
      {%- endfor %}
      {%- for step in at.steps.values() %}
      {{ step.cold }}
      {%- endfor %}
      {{- slide_all(at) }}
      {%- for step in at.after.values() %}
      {{ step.cold }}
      {%- endfor %}
    end if;
    {%- endfor %}

    if n % 256 = 0 then
      {#- A mean that decays without end would come to where a product underflows, which is an error in PostgreSQL. #}
      {%- for variable in program.flushed %}
      {{ variable }} := case when abs({{ variable }}) < 1e-150::float8 then 0 else {{ variable }} end;
      {%- endfor %}
      if closed_at >= first_at then
        checkpoint := array[
          signature,
          n,
          return_count,
          range_count,
          bars_since_outage,
          close,
          high,
          low,
          nullif(close, 0)
          {%- for variable in scalars %},
          {{ variable }}
          {%- endfor %}
        ]
        {%- for variable in program.arrays %} || {{ variable }}{% endfor %};
        return next;
        checkpoint := null;
      end if;
    elsif closed_at >= first_at then
      return next;
    end if;
    gap_before := null;
    previous_close := close;
    previous_high := high;
    previous_low := low;
    reference_close := nullif(close, 0);
  end loop;
  close gaps;
end
$walk$
{%- endmacro %}


{#- The name of the function that walks a series for bar_features. -#}
{% macro feature_loop_name(program) -%}
{{ function_name('walk', feature_loop(program, 'walk', this.schema ~ '.' ~ this.identifier)) }}
{%- endmacro %}


{#- Creates it if it is not there. Before bar_features, in its transaction. -#}
{% macro create_feature_loop() %}
  {{ create_function('walk', feature_loop(feature_program(enabled_indicators()), 'walk', this.schema ~ '.' ~ this.identifier)) }}
{% endmacro %}


{#- Into how many parts a full build is cut, for as many processes as the server gives it. -#}
{% macro loop_shards() %}{{ return(4) }}{% endmacro %}
