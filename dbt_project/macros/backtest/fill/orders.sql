{#- Fills at the open of a bar what was known by then. -#}
{% macro meet_events() -%}
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


{#- Closes what is open where the instrument, or the run, ends. -#}
{% macro sell_at_the_end(from) -%}
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
{%- endmacro %}
