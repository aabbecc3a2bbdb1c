{#-
  The function that turns the events of one signal in one instrument into fills: it walks the bars, fills orders at the open of the next
  traded bar, watches stops and targets, and keeps the two accounts, clean and realistic (docs/backtest.md has the rules).

  Each fill holds what follows from it, the cash and the units that are open, so a walk is taken up after the last fill before a change.

  from       {signals, events, bars, costs, delistings, observed}: relations to read; observed, who was asked until when, is none where only
             delistings that were known are given
  standing   the table of fills that a walk is taken up from, or none
  closes_at_end  whether what is open at the last bar is sold at its close
  is_sparse  whether events are looked up in the bars one by one where no level has to be watched: bars in one plain table
-#}
{% macro fill_walk(name, from, standing=none, is_sparse=false, closes_at_end=false) -%}
create or replace function {{ name }}(series_signal text, series_instrument integer, series_timeframe text, first_at timestamptz)
returns table (
  {%- for column, type in fill_columns().items() %}
  {{ column }} {{ type }}{{ ',' if not loop.last }}
  {%- endfor %}
)
language plpgsql stable strict parallel safe cost 1000000 as $walk$
#variable_conflict use_column
declare
  rules record;
  last record;
  event record;
  begins_at timestamptz;
  delisted_at timestamptz;
  ends_at timestamptz;
  last_fill_at timestamptz := '-infinity';
  bars_from timestamptz := '-infinity';
  events_from timestamptz := '-infinity';
  bars refcursor;
  events refcursor;
  open float8;
  high float8;
  low float8;
  close float8;
  is_traded boolean;
  best float8;
  is_wanted boolean;
  wanted_direction text;
  wanted_fraction float8;
  wanted_known_at timestamptz;
  side integer;
  held integer := 0;
  has_levels boolean;
  unit backtest.unit;
  at_unit integer;
  leaves_at float8;
  nearest_stop float8;
  nearest_target float8;
  liquidation float8;
  account float8;
  realistic_account float8;
begin
  fill_number := 0;
  last_trade_number := 0;
  cash := 1;
  holding := 0;
  realistic_cash := 1;
  realistic_holding := 0;
  borrow_per_day := 0;
  units := array[]::backtest.unit[];

  select
    coalesce({{ execution_rule('execution_timeframe', 'text') }}, signal.timeframe) as timeframe,
    coalesce({{ execution_rule('pyramiding', 'integer') }}, 1) as pyramiding,
    coalesce({{ execution_rule('exit_units', 'integer') }}, 100) as exit_units,
    {{ execution_rule('stop_loss') }} as stop_loss,
    {{ execution_rule('take_profit') }} as take_profit,
    {{ execution_rule('trailing_stop') }} as trailing_stop,
    signal.direction,
    cost.fee_bps / 10000 as fee,
    cost.slippage_bps / 10000 as slippage,
    cost.borrow_bps_per_day / 10000 as borrow,
    instrument.base_timeframe,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol
  into rules
  from {{ from.signals }} as signal
  cross join {{ ref('dim_instrument') }} as instrument
  {{ join_cost(from.costs) }}
  where signal.signal = series_signal and instrument.instrument_id = series_instrument;
  {#- A short has one always: where the account is used up. #}
  has_levels := num_nonnulls(rules.stop_loss, rules.take_profit, rules.trailing_stop) > 0 or rules.direction <> 'long';

  {%- if from.observed %}
  {#- Who asked the source past the delisting knows that it was one. #}
  select delisting.delisted_at into delisted_at
  from {{ from.delistings }} as delisting
  inner join {{ from.observed }} as observed
    on
      observed.instrument_id = series_instrument
      and observed.timeframe = rules.base_timeframe
      and observed.observed_until >= delisting.delisted_at
  {%- else %}
  select delisting.delisted_at into delisted_at
  from {{ from.delistings }} as delisting
  {%- endif %}
  where
    delisting.exchange = rules.exchange and delisting.market_type = rules.market_type and delisting.symbol = rules.symbol;
  {%- if closes_at_end %}
  select max(bar.closed_at) into ends_at
  from {{ from.bars }} as bar
  where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe;
  {%- endif %}
  ends_at := least(delisted_at, ends_at);

  begins_at := {{ first_not_frozen() }};
  {%- if standing %}
  if begins_at > '-infinity' and to_regclass('{{ standing }}') is not null then
    select fill.* into last
    from {{ standing }} as fill
    where
      fill.instrument_id = series_instrument
      and fill.timeframe = series_timeframe
      and fill.signal = series_signal
      and fill.closed_at < begins_at
    order by fill.closed_at desc, fill.fill_number desc
    limit 1;
    if found then
      fill_number := last.fill_number;
      last_trade_number := last.last_trade_number;
      cash := last.cash;
      holding := last.holding;
      realistic_cash := last.realistic_cash;
      realistic_holding := last.realistic_holding;
      borrow_per_day := last.borrow_per_day;
      settled_at := last.settled_at;
      units := last.units;
      last_fill_at := last.closed_at;
      bars_from := last.closed_at;
      events_from := last.opened_at;
    end if;
    {#- Between that fill and the last traded bar before the beginning every event was met, and changed nothing. #}
    select bar.closed_at, bar.opened_at into last
    from {{ from.bars }} as bar
    where
      bar.instrument_id = series_instrument
      and bar.timeframe = rules.timeframe
      and bar.closed_at > last_fill_at
      and bar.closed_at < begins_at
      and {{ is_traded('bar') }}
    order by bar.closed_at desc
    limit 1;
    if found then
      bars_from := last.closed_at;
      events_from := last.opened_at;
    end if;
    if rules.trailing_stop is not null and cardinality(units) > 0 then
      select case when units[1].direction = 1 then max(bar.high) else min(bar.low) end into best
      from {{ from.bars }} as bar
      where
        bar.instrument_id = series_instrument
        and bar.timeframe = rules.timeframe
        and bar.closed_at >= last_fill_at
        and bar.closed_at <= bars_from
        and {{ is_traded('bar') }};
      {{- follow_best() | indent(6) }}
    end if;
    {{- levels() | indent(4) }}
  end if;
  {%- endif %}

  open events for
  select fired.known_at, fired.action, fired.direction, fired.fraction
  from {{ from.events }} as fired
  where
    fired.instrument_id = series_instrument
    and fired.timeframe = series_timeframe
    and fired.signal = series_signal
    and fired.closed_at > events_from
  order by fired.closed_at, fired.action desc;
  fetch events into event;

  {%- if is_sparse %}
  if not has_levels then
    open bars for
    select distinct on (seen.closed_at)
      seen.opened_at, seen.closed_at, seen.open, seen.high, seen.low, seen.close, {{ is_traded('seen') }}
    from (
      select next_bar.*
      from {{ from.events }} as fired
      cross join lateral (
        select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume
        from {{ from.bars }} as bar
        where
          bar.instrument_id = series_instrument
          and bar.timeframe = rules.timeframe
          and bar.closed_at > fired.known_at
          and bar.opened_at >= fired.known_at
          and {{ is_traded('bar') }}
        order by bar.closed_at
        limit 1
      ) as next_bar
      where fired.instrument_id = series_instrument and fired.timeframe = series_timeframe and fired.signal = series_signal
      union all
      select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume
      from {{ from.bars }} as bar
      where bar.instrument_id = series_instrument and bar.timeframe = rules.timeframe and bar.close = 0
    ) as seen
    order by seen.closed_at;
  else
  {%- endif %}
    open bars for
    select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, {{ is_traded('bar') }}
    from {{ from.bars }} as bar
    where bar.instrument_id = series_instrument and bar.timeframe = rules.timeframe and bar.closed_at > bars_from
    order by bar.closed_at;
  {%- if is_sparse %}
  end if;
  {%- endif %}

  loop
    fetch bars into opened_at, closed_at, open, high, low, close, is_traded;
    exit when not found or closed_at > ends_at;

    if is_traded and event.known_at <= opened_at then
      is_wanted := false;
      while event.known_at <= opened_at loop
        if event.action = 'entry' then
          is_wanted := true;
          wanted_direction := event.direction;
          wanted_fraction := event.fraction;
          wanted_known_at := event.known_at;
        else
          {#- An entry that waits is called off by an exit of its direction. #}
          is_wanted := is_wanted and wanted_direction <> event.direction;
          side := case event.direction when 'long' then 1 else -1 end;
          known_at := event.known_at;
          for nth in 1..least(rules.exit_units, cardinality(units)) loop
            exit when units[1].direction <> side;
            {{- close_unit('1', 'open', "'signal'", 'opened_at') | indent(12) }}
          end loop;
        end if;
        fetch events into event;
      end loop;
      if is_wanted then
        side := case wanted_direction when 'long' then 1 else -1 end;
        known_at := wanted_known_at;
        while cardinality(units) > 0 and units[1].direction <> side loop
          {{- close_unit('1', 'open', "'reversal'", 'opened_at') | indent(10) }}
        end loop;
        {{- open_unit() | indent(8) }}
      end if;
      {{- levels() | indent(6) }}
    end if;

    if is_traded and held <> 0 and has_levels then
      if held = -1 then
        liquidation := {{ liquidation_price() }};
      end if;
      if (held = 1 and (low <= nearest_stop or high >= nearest_target))
        or (held = -1 and (high >= least(nearest_stop, liquidation) or low <= nearest_target)) then
        known_at := null;
        at_unit := 1;
        while at_unit <= cardinality(units) loop
          unit := units[at_unit];
          {#- A gap fills at the open; within the bar a stop comes before a target, since nobody knows which was first. #}
          reason := null;
          if held = 1 then
            if open <= unit.stop_price then
              reason := 'stop'; leaves_at := open;
            elsif open >= unit.target_price then
              reason := 'target'; leaves_at := open;
            elsif low <= unit.stop_price then
              reason := 'stop'; leaves_at := unit.stop_price;
            elsif high >= unit.target_price then
              reason := 'target'; leaves_at := unit.target_price;
            end if;
          elsif open >= least(unit.stop_price, liquidation) then
            reason := case when unit.stop_price <= liquidation then 'stop' else 'liquidation' end; leaves_at := open;
          elsif open <= unit.target_price then
            reason := 'target'; leaves_at := open;
          elsif high >= least(unit.stop_price, liquidation) then
            reason := case when unit.stop_price <= liquidation then 'stop' else 'liquidation' end;
            leaves_at := least(unit.stop_price, liquidation);
          elsif low <= unit.target_price then
            reason := 'target'; leaves_at := unit.target_price;
          end if;
          if reason is null then
            at_unit := at_unit + 1;
          else
            {{- close_unit('at_unit', 'leaves_at', 'reason', 'case when leaves_at = open then opened_at else closed_at end') | indent(12) }}
          end if;
        end loop;
        {{- levels() | indent(8) }}
      end if;
      if rules.trailing_stop is not null and held <> 0 then
        best := case held when 1 then high else low end;
        {{- follow_best() | indent(8) }}
        {{- levels() | indent(8) }}
      end if;
    end if;

    {#- A close that leaves nothing of the account, or less, ends it, whether somebody traded or not. A long falls so low at zero alone. #}
    if (held = -1 or held = 1 and close = 0) and {{ is_used_up() | indent(6) }} then
      known_at := null;
      while cardinality(units) > 0 loop
        {{- close_unit('1', 'close', "case held when 1 then 'worthless' else 'liquidation' end", 'closed_at') | indent(8) }}
      end loop;
      {{- levels() | indent(6) }}
    end if;
  end loop;
  close bars;
  close events;

  if ends_at is not null and cardinality(units) > 0 then
    select bar.close into close
    from {{ from.bars }} as bar
    where
      bar.instrument_id = series_instrument
      and bar.timeframe = rules.timeframe
      and bar.closed_at <= ends_at
      and {{ is_traded('bar') }}
    order by bar.closed_at desc
    limit 1;
    opened_at := ends_at;
    closed_at := ends_at;
    known_at := null;
    while cardinality(units) > 0 loop
      {{- close_unit('1', 'close', "case when ends_at = delisted_at then 'delisted' else 'end' end", 'ends_at') | indent(6) }}
    end loop;
  end if;
end
$walk$
{%- endmacro %}


{#- `cost`: what trading `instrument` is charged, by the row that names it most closely. -#}
{% macro join_cost(costs) -%}
cross join lateral (
    select charged.fee_bps, charged.slippage_bps, charged.borrow_bps_per_day
    from {{ costs }} as charged
    where charged.exchange in (instrument.exchange, '*') and charged.market_type in (instrument.market_type, '*')
    order by charged.exchange = '*', charged.market_type = '*'
    limit 1
  ) as cost
{%- endmacro %}


{#- Somebody traded: orders fill on no other bar. -#}
{% macro is_traded(bar) -%}
{{ bar }}.volume > 0
{%- endmacro %}


{#-
  What rounding leaves of an amount that is all spent, or all owed, is nothing: a part in 10^12 of it. A remainder of 1e-17 would be traded
  with, and divided by.
-#}
{% macro residue(amount) -%}
1e-12::float8 * {{ amount }}
{%- endmacro %}


{#- Whether the close leaves nothing of one of the accounts. -#}
{% macro is_used_up() -%}
(
  cash + holding * close <= {{ residue('cash') }}
  or realistic_cash + realistic_holding * close - {{ borrow_until('borrow_per_day', 'settled_at', 'closed_at') }} <= {{ residue('realistic_cash') }}
)
{%- endmacro %}


{#- Makes of cash that is a residue of an amount nothing. -#}
{% macro without_residue(cash, amount) %}
if abs({{ cash }}) <= {{ residue(amount) }} then
  {{ cash }} := 0;
end if;
{%- endmacro %}


{#- The columns that a fill has beside its series: {name: type}. -#}
{% macro fill_columns() %}
  {{ return({
    'closed_at': 'timestamptz',
    'fill_number': 'integer',
    'opened_at': 'timestamptz',
    'filled_at': 'timestamptz',
    'action': 'text',
    'direction': 'text',
    'reason': 'text',
    'known_at': 'timestamptz',
    'trade_number': 'integer',
    'price': 'float8',
    'realistic_price': 'float8',
    'quantity': 'float8',
    'realistic_quantity': 'float8',
    'fee': 'float8',
    'entry_known_at': 'timestamptz',
    'entry_at': 'timestamptz',
    'entry_price': 'float8',
    'realistic_entry_price': 'float8',
    'entry_fee': 'float8',
    'borrow': 'float8',
    'cash': 'float8',
    'holding': 'float8',
    'realistic_cash': 'float8',
    'realistic_holding': 'float8',
    'borrow_per_day': 'float8',
    'settled_at': 'timestamptz',
    'last_trade_number': 'integer',
    'units': 'backtest.unit[]',
  }) }}
{% endmacro %}


{#- What shorts cost from one moment until another. -#}
{% macro borrow_until(per_day, since, until) -%}
coalesce({{ per_day }} * extract(epoch from {{ until }} - {{ since }})::float8 / 86400, 0)
{%- endmacro %}


{#- Pays what shorts have cost until now. -#}
{% macro settle(moment) %}
filled_at := {{ moment }};
realistic_cash := realistic_cash - {{ borrow_until('borrow_per_day', 'settled_at', 'filled_at') }};
settled_at := filled_at;
{%- endmacro %}


{#- Fills the exit of one unit of those that are open. -#}
{% macro close_unit(index, at_price, why, moment) %}
unit := units[{{ index }}];
{{- settle(moment) }}
reason := {{ why }};
price := {{ at_price }};
realistic_price := price * (1 - unit.direction * rules.slippage);
quantity := unit.quantity;
realistic_quantity := unit.realistic_quantity;
fee := realistic_quantity * realistic_price * rules.fee;
cash := cash + unit.direction * quantity * price;
realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
{{- without_residue('cash', 'quantity * price') }}
{{- without_residue('realistic_cash', 'realistic_quantity * realistic_price') }}
units := units[:{{ index }} - 1] || units[{{ index }} + 1:];
{#- Exactly nothing where nothing is left. #}
if cardinality(units) = 0 then
  holding := 0;
  realistic_holding := 0;
  borrow_per_day := 0;
else
  holding := holding - unit.direction * quantity;
  realistic_holding := realistic_holding - unit.direction * realistic_quantity;
  borrow_per_day := borrow_per_day - unit.borrow_per_day;
end if;
fill_number := fill_number + 1;
action := 'exit';
direction := case unit.direction when 1 then 'long' else 'short' end;
trade_number := unit.trade_number;
entry_known_at := unit.known_at;
entry_at := unit.entry_at;
entry_price := unit.entry_price;
realistic_entry_price := unit.realistic_entry_price;
entry_fee := unit.entry_fee;
borrow := {{ borrow_until('unit.borrow_per_day', 'unit.entry_at', 'filled_at') }};
return next;
{%- endmacro %}


{#- Fills an entry at the open, if it is a price and the account has room and money for it. -#}
{% macro open_unit() %}
account := cash + holding * open;
realistic_account := realistic_cash + realistic_holding * open - {{ borrow_until('borrow_per_day', 'settled_at', 'opened_at') }};
quantity := least(wanted_fraction * account, account - abs(holding) * open) / nullif(open, 0);
realistic_price := open * (1 + side * rules.slippage);
realistic_quantity := least(wanted_fraction * realistic_account, realistic_account - abs(realistic_holding) * open)
  / nullif(realistic_price * (1 + rules.fee), 0);
if cardinality(units) < rules.pyramiding and wanted_fraction > 0
  and quantity > 0 and quantity * open > {{ residue('account') }}
  and realistic_quantity > 0 and realistic_quantity * open > {{ residue('realistic_account') }} then
  {{- settle('opened_at') | indent(2) }}
  price := open;
  fee := realistic_quantity * realistic_price * rules.fee;
  cash := cash - side * quantity * price;
  realistic_cash := realistic_cash - side * realistic_quantity * realistic_price - fee;
  {{- without_residue('cash', 'quantity * price') | indent(2) }}
  {{- without_residue('realistic_cash', 'realistic_quantity * realistic_price') | indent(2) }}
  holding := holding + side * quantity;
  realistic_holding := realistic_holding + side * realistic_quantity;
  last_trade_number := last_trade_number + 1;
  unit := row(
    last_trade_number, side, wanted_known_at, opened_at, price, realistic_price, quantity, realistic_quantity, fee,
    case when side = -1 then realistic_quantity * realistic_price * rules.borrow else 0 end,
    side * greatest(side * price * (1 - side * rules.stop_loss), side * price * (1 - side * rules.trailing_stop)),
    price * (1 + side * rules.take_profit),
    price
  )::backtest.unit;
  units := units || unit;
  borrow_per_day := borrow_per_day + unit.borrow_per_day;
  fill_number := fill_number + 1;
  reason := 'signal';
  action := 'entry';
  direction := wanted_direction;
  trade_number := last_trade_number;
  entry_known_at := wanted_known_at;
  entry_at := opened_at;
  entry_price := price;
  realistic_entry_price := realistic_price;
  entry_fee := fee;
  borrow := null;
  return next;
end if;
{%- endmacro %}


{#- The price at which buying back what is short takes all that the account has: with slippage, fees, and borrowing until the bar is over. -#}
{% macro liquidation_price() -%}
(realistic_cash - {{ borrow_until('borrow_per_day', 'settled_at', 'closed_at') }})
  / (-realistic_holding * (1 + rules.slippage) * (1 + rules.fee))
{%- endmacro %}


{#- The direction that is held and the levels of its units that the next bar may touch first. -#}
{% macro levels() %}
if cardinality(units) = 0 then
  held := 0;
else
  held := units[1].direction;
  nearest_stop := null;
  nearest_target := null;
  for nth in 1..cardinality(units) loop
    nearest_stop := held * greatest(held * nearest_stop, held * units[nth].stop_price);
    nearest_target := held * least(held * nearest_target, held * units[nth].target_price);
  end loop;
end if;
{%- endmacro %}


{#- Trailing stops follow the best price since the entry, that of the bar just over included. -#}
{% macro follow_best() %}
for nth in 1..cardinality(units) loop
  unit := units[nth];
  unit.best_price := unit.direction * greatest(unit.direction * unit.best_price, unit.direction * best);
  unit.stop_price := unit.direction * greatest(
    unit.direction * unit.stop_price, unit.direction * unit.best_price * (1 - unit.direction * rules.trailing_stop)
  );
  units[nth] := unit;
end loop;
{%- endmacro %}
