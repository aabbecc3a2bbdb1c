{#-
  The function that values an account at every bar: what its fills left in cash and units, at the bar's close. Beside it stands the same money
  put into the instrument at the open of its first bar and kept there.

  from      {fills, bars, costs}: relations to read
  standing  the table of earlier bars that it is taken up from, or none
-#}
{% macro equity_loop(name, from, standing=none) -%}
create or replace function {{ name }}(series_signal text, series_instrument integer, series_timeframe text, first_at timestamptz)
returns table (
  {%- for column, type in equity_columns().items() %}
  {{ column }} {{ type }}{{ ',' if not loop.last }}
  {%- endfor %}
)
language plpgsql stable strict parallel safe cost 1000000 as $equity$
#variable_conflict use_column
declare
  begins_at timestamptz;
  last record;
  last_fill_at timestamptz;
begin
  begins_at := {{ first_not_frozen() }};
  select
    1::float8 as clean_equity,
    1::float8 as clean_peak,
    1::float8 as realistic_equity,
    1::float8 as realistic_peak,
    1::float8 as hold_equity,
    1::float8 as hold_peak,
    1::float8 as realistic_hold_equity,
    1::float8 as realistic_hold_peak,
    1 / first_bar.open as hold_quantity,
    1 / (first_bar.open * (1 + cost.slippage_bps / 10000) * (1 + cost.fee_bps / 10000)) as realistic_hold_quantity,
    first_bar.closed_at as hold_from
  into last
  from {{ ref('dim_instrument') }} as instrument
  left join lateral (
    select bar.open, bar.closed_at
    from {{ from.bars }} as bar
    where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and {{ is_traded('bar') }} and bar.open > 0
    order by bar.closed_at
    limit 1
  ) as first_bar on true
  {{ join_cost(from.costs) }}
  where instrument.instrument_id = series_instrument;
  {%- if standing %}
  if begins_at > '-infinity' and to_regclass('{{ standing }}') is not null then
    select row.* into last
    from (
      select
        standing.clean_equity, standing.clean_peak, standing.realistic_equity, standing.realistic_peak, standing.hold_equity,
        standing.hold_peak, standing.realistic_hold_equity, standing.realistic_hold_peak,
        coalesce(standing.hold_quantity, last.hold_quantity) as hold_quantity,
        coalesce(standing.realistic_hold_quantity, last.realistic_hold_quantity) as realistic_hold_quantity,
        case when standing.hold_quantity is null then last.hold_from else '-infinity' end as hold_from,
        standing.closed_at
      from {{ standing }} as standing
      where
        standing.instrument_id = series_instrument
        and standing.timeframe = series_timeframe
        and standing.signal = series_signal
        and standing.closed_at < begins_at
      union all
      select
        last.clean_equity, last.clean_peak, last.realistic_equity, last.realistic_peak, last.hold_equity, last.hold_peak,
        last.realistic_hold_equity, last.realistic_hold_peak, last.hold_quantity, last.realistic_hold_quantity, last.hold_from,
        '-infinity'
      order by closed_at desc
      limit 1
    ) as row;
  end if;
  {%- endif %}
  select coalesce(max(fill.closed_at), '-infinity') into last_fill_at
  from {{ from.fills }} as fill
  where
    fill.instrument_id = series_instrument
    and fill.timeframe = series_timeframe
    and fill.signal = series_signal
    and fill.closed_at <= begins_at;

  return query
  with fill as (
    select distinct on (fill.closed_at)
      fill.closed_at,
      fill.cash,
      fill.holding,
      fill.realistic_cash,
      fill.realistic_holding,
      fill.borrow_per_day,
      fill.settled_at
    from {{ from.fills }} as fill
    where
      fill.instrument_id = series_instrument
      and fill.timeframe = series_timeframe
      and fill.signal = series_signal
      and fill.closed_at >= last_fill_at
    order by fill.closed_at, fill.fill_number desc
  ),

  state as (
    select
      started.*,
      lead(started.closed_at, 1, 'infinity') over (order by started.closed_at) as until_at
    from (
      select '-infinity'::timestamptz as closed_at, 1::float8 as cash, 0::float8 as holding, 1::float8 as realistic_cash,
        0::float8 as realistic_holding, 0::float8 as borrow_per_day, null::timestamptz as settled_at
      union all
      select * from fill
    ) as started
  ),

  held as (
    select
      bar.opened_at,
      bar.closed_at,
      bar.close,
      state.holding,
      state.realistic_holding,
      state.cash + state.holding * bar.close as clean_equity,
      state.realistic_cash + state.realistic_holding * bar.close
        - {{ borrow_until('state.borrow_per_day', 'state.settled_at', 'bar.closed_at') }} as realistic_equity,
      {#- What has closed at zero once is worth nothing from then on, as it is in the accounts that trade. #}
      {%- for prefix in ['', 'realistic_'] %}
      case when bar.closed_at >= last.hold_from then
        case when min(bar.close) filter (where bar.closed_at >= last.hold_from) over (order by bar.closed_at) > 0
          then last.{{ prefix }}hold_quantity else 0 end
      end as {{ prefix }}hold_quantity{{ ',' if not loop.last }}
      {%- endfor %}
    from state
    cross join lateral {{ bars_of_state(from.bars, ['opened_at', 'closed_at', 'close'], 'greatest(state.closed_at, begins_at)') }} as bar
  ),

  valued as (
    select
      held.*,
      coalesce(held.hold_quantity * held.close, 1) as hold_equity,
      coalesce(held.realistic_hold_quantity * held.close, 1) as realistic_hold_equity
    from held
  ),

  followed as (
    select
      valued.*
      {%- for account in accounts() %},
      {{ account_return('valued.' ~ account ~ '_equity', 'lag(valued.' ~ account ~ '_equity, 1, last.' ~ account ~ '_equity) over bars') }}
        as {{ account }}_return,
      greatest(last.{{ account }}_peak, max(valued.{{ account }}_equity) over bars) as {{ account }}_peak,
      valued.{{ account }}_equity / greatest(last.{{ account }}_peak, max(valued.{{ account }}_equity) over bars) - 1
        as {{ account }}_drawdown
      {%- endfor %}
    from valued
    window bars as (order by valued.closed_at)
  )

  select
    {%- for column in equity_columns() %}
    followed.{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
  from followed;
end
$equity$
{%- endmacro %}


{#-
  The bars of `state`, from an instant on until the next state, in order. They are looked up for each state by their key: a join would
  compare every bar with every state, and take with ten times the bars a hundred times as long. Sorting keeps the planner from making one.
-#}
{% macro bars_of_state(bars, columns, since) -%}
(
      select
        {%- for column in columns %}
        bar.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
      from {{ bars }} as bar
      where
        bar.instrument_id = series_instrument
        and bar.timeframe = series_timeframe
        and bar.closed_at >= {{ since }}
        and bar.closed_at < state.until_at
      order by bar.closed_at
    )
{%- endmacro %}


{#- What an account returned over a bar: nothing where nothing was left of it before. Of a debt there is no return. -#}
{% macro account_return(after, before) -%}
case when {{ before }} > 0 then {{ after }} / {{ before }} - 1 else 0 end
{%- endmacro %}


{#- The accounts that are kept of a signal: as if trading were free, with its costs, and both for who buys and holds. -#}
{% macro accounts() %}{{ return(['clean', 'realistic', 'hold', 'realistic_hold']) }}{% endmacro %}


{#- The columns of an account's value at a bar: {name: type}. -#}
{% macro equity_columns() %}
  {% set columns = {
    'opened_at': 'timestamptz', 'closed_at': 'timestamptz', 'close': 'float8', 'holding': 'float8', 'realistic_holding': 'float8'
  } %}
  {% for account in accounts() %}
    {% for name in ['equity', 'return', 'peak', 'drawdown'] %}{% do columns.update({account ~ '_' ~ name: 'float8'}) %}{% endfor %}
  {% endfor %}
  {% do columns.update({'hold_quantity': 'float8', 'realistic_hold_quantity': 'float8'}) %}
  {{ return(columns) }}
{% endmacro %}
