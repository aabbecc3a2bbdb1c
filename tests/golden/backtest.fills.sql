-- backtest.fills(
--     series_signal text
--     series_instrument integer
--     series_timeframe text
--     first_at timestamp with time zone
-- ) returns TABLE(closed_at timestamp with time zone, fill_number integer, opened_at timestamp with time zone, filled_at timestamp with time zone, action text, direction text, reason text, known_at timestamp with time zone, trade_number integer, price double precision, realistic_price double precision, quantity double precision, realistic_quantity double precision, fee double precision, entry_known_at timestamp with time zone, entry_at timestamp with time zone, entry_price double precision, realistic_entry_price double precision, entry_fee double precision, borrow double precision, cash double precision, holding double precision, realistic_cash double precision, realistic_holding double precision, borrow_per_day double precision, settled_at timestamp with time zone, last_trade_number integer, units backtest.unit[])
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
    coalesce((signal.execution ->> 'execution_timeframe')::text, signal.timeframe) as timeframe,
    coalesce((signal.execution ->> 'pyramiding')::integer, 1) as pyramiding,
    coalesce((signal.execution ->> 'exit_units')::integer, 100) as exit_units,
    (signal.execution ->> 'stop_loss')::float8 as stop_loss,
    (signal.execution ->> 'take_profit')::float8 as take_profit,
    (signal.execution ->> 'trailing_stop')::float8 as trailing_stop,
    signal.direction,
    cost.fee_bps / 10000 as fee,
    cost.slippage_bps / 10000 as slippage,
    cost.borrow_bps_per_day / 10000 as borrow,
    instrument.base_timeframe,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol
  into rules
  from "signals"."dim_signal" as signal
  cross join "bars"."dim_instrument" as instrument
  cross join lateral (
    select charged.fee_bps, charged.slippage_bps, charged.borrow_bps_per_day
    from "config"."cost" as charged
    where charged.exchange in (instrument.exchange, '*') and charged.market_type in (instrument.market_type, '*')
    order by charged.exchange = '*', charged.market_type = '*'
    limit 1
  ) as cost
  where signal.signal = series_signal and instrument.instrument_id = series_instrument;
  has_levels := num_nonnulls(rules.stop_loss, rules.take_profit, rules.trailing_stop) > 0 or rules.direction <> 'long';
  select delisting.delisted_at into delisted_at
  from "config"."delisting" as delisting
  inner join "bars"."observed" as observed
    on
      observed.instrument_id = series_instrument
      and observed.timeframe = rules.base_timeframe
      and observed.observed_until >= delisting.delisted_at
  where
    delisting.exchange = rules.exchange and delisting.market_type = rules.market_type and delisting.symbol = rules.symbol;
  ends_at := least(delisted_at, ends_at);

  begins_at := greatest(first_at, (
    select horizon.horizon_at from ops.horizon as horizon
    where horizon.instrument_id = series_instrument and horizon.timeframe = series_timeframe
  ));
  if begins_at > '-infinity' and to_regclass('backtest.fill') is not null then
    select fill.* into last
    from backtest.fill as fill
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
    select bar.closed_at, bar.opened_at into last
    from "bars"."fct_bars" as bar
    where
      bar.instrument_id = series_instrument
      and bar.timeframe = rules.timeframe
      and bar.closed_at > last_fill_at
      and bar.closed_at < begins_at
      and bar.volume > 0
    order by bar.closed_at desc
    limit 1;
    if found then
      bars_from := last.closed_at;
      events_from := last.opened_at;
    end if;
    if rules.trailing_stop is not null and cardinality(units) > 0 then
      select case when units[1].direction = 1 then max(bar.high) else min(bar.low) end into best
      from "bars"."fct_bars" as bar
      where
        bar.instrument_id = series_instrument
        and bar.timeframe = rules.timeframe
        and bar.closed_at >= last_fill_at
        and bar.closed_at <= bars_from
        and bar.volume > 0;
      for nth in 1..cardinality(units) loop
        unit := units[nth];
        unit.best_price := unit.direction * greatest(unit.direction * unit.best_price, unit.direction * best);
        unit.stop_price := unit.direction * greatest(
          unit.direction * unit.stop_price, unit.direction * unit.best_price * (1 - unit.direction * rules.trailing_stop)
        );
        units[nth] := unit;
      end loop;
    end if;
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
  end if;

  open events for
  select fired.known_at, fired.action, fired.direction, fired.fraction
  from "signals"."fct_signals" as fired
  where
    fired.instrument_id = series_instrument
    and fired.timeframe = series_timeframe
    and fired.signal = series_signal
    and fired.closed_at > events_from
  order by fired.closed_at, fired.action desc;
  fetch events into event;
    open bars for
    select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume > 0
    from "bars"."fct_bars" as bar
    where bar.instrument_id = series_instrument and bar.timeframe = rules.timeframe and bar.closed_at > bars_from
    order by bar.closed_at;

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
          is_wanted := is_wanted and wanted_direction <> event.direction;
          side := case event.direction when 'long' then 1 else -1 end;
          known_at := event.known_at;
          for nth in 1..least(rules.exit_units, cardinality(units)) loop
            exit when units[1].direction <> side;
            unit := units[1];
            filled_at := opened_at;
            realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
            settled_at := filled_at;
            reason := 'signal';
            price := open;
            realistic_price := price * (1 - unit.direction * rules.slippage);
            quantity := unit.quantity;
            realistic_quantity := unit.realistic_quantity;
            fee := realistic_quantity * realistic_price * rules.fee;
            cash := cash + unit.direction * quantity * price;
            realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
            if abs(cash) <= 1e-12::float8 * quantity * price then
              cash := 0;
            end if;
            if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
              realistic_cash := 0;
            end if;
            units := units[:1 - 1] || units[1 + 1:];
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
            borrow := coalesce(unit.borrow_per_day * extract(epoch from filled_at - unit.entry_at)::float8 / 86400, 0);
            return next;
          end loop;
        end if;
        fetch events into event;
      end loop;
      if is_wanted then
        side := case wanted_direction when 'long' then 1 else -1 end;
        known_at := wanted_known_at;
        while cardinality(units) > 0 and units[1].direction <> side loop
          unit := units[1];
          filled_at := opened_at;
          realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
          settled_at := filled_at;
          reason := 'reversal';
          price := open;
          realistic_price := price * (1 - unit.direction * rules.slippage);
          quantity := unit.quantity;
          realistic_quantity := unit.realistic_quantity;
          fee := realistic_quantity * realistic_price * rules.fee;
          cash := cash + unit.direction * quantity * price;
          realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
          if abs(cash) <= 1e-12::float8 * quantity * price then
            cash := 0;
          end if;
          if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
            realistic_cash := 0;
          end if;
          units := units[:1 - 1] || units[1 + 1:];
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
          borrow := coalesce(unit.borrow_per_day * extract(epoch from filled_at - unit.entry_at)::float8 / 86400, 0);
          return next;
        end loop;
        account := cash + holding * open;
        realistic_account := realistic_cash + realistic_holding * open - coalesce(borrow_per_day * extract(epoch from opened_at - settled_at)::float8 / 86400, 0);
        quantity := least(wanted_fraction * account, account - abs(holding) * open) / nullif(open, 0);
        realistic_price := open * (1 + side * rules.slippage);
        realistic_quantity := least(wanted_fraction * realistic_account, realistic_account - abs(realistic_holding) * open)
          / nullif(realistic_price * (1 + rules.fee), 0);
        if cardinality(units) < rules.pyramiding and wanted_fraction > 0
          and quantity > 0 and quantity * open > 1e-12::float8 * account
          and realistic_quantity > 0 and realistic_quantity * open > 1e-12::float8 * realistic_account then
          filled_at := opened_at;
          realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
          settled_at := filled_at;
          price := open;
          fee := realistic_quantity * realistic_price * rules.fee;
          cash := cash - side * quantity * price;
          realistic_cash := realistic_cash - side * realistic_quantity * realistic_price - fee;
          if abs(cash) <= 1e-12::float8 * quantity * price then
            cash := 0;
          end if;
          if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
            realistic_cash := 0;
          end if;
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
      end if;
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
    end if;

    if is_traded and held <> 0 and has_levels then
      if held = -1 then
        liquidation := (realistic_cash - coalesce(borrow_per_day * extract(epoch from closed_at - settled_at)::float8 / 86400, 0))
  / (-realistic_holding * (1 + rules.slippage) * (1 + rules.fee));
      end if;
      if (held = 1 and (low <= nearest_stop or high >= nearest_target))
        or (held = -1 and (high >= least(nearest_stop, liquidation) or low <= nearest_target)) then
        known_at := null;
        at_unit := 1;
        while at_unit <= cardinality(units) loop
          unit := units[at_unit];
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
            unit := units[at_unit];
            filled_at := case when leaves_at = open then opened_at else closed_at end;
            realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
            settled_at := filled_at;
            reason := reason;
            price := leaves_at;
            realistic_price := price * (1 - unit.direction * rules.slippage);
            quantity := unit.quantity;
            realistic_quantity := unit.realistic_quantity;
            fee := realistic_quantity * realistic_price * rules.fee;
            cash := cash + unit.direction * quantity * price;
            realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
            if abs(cash) <= 1e-12::float8 * quantity * price then
              cash := 0;
            end if;
            if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
              realistic_cash := 0;
            end if;
            units := units[:at_unit - 1] || units[at_unit + 1:];
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
            borrow := coalesce(unit.borrow_per_day * extract(epoch from filled_at - unit.entry_at)::float8 / 86400, 0);
            return next;
          end if;
        end loop;
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
      end if;
      if rules.trailing_stop is not null and held <> 0 then
        best := case held when 1 then high else low end;
        for nth in 1..cardinality(units) loop
          unit := units[nth];
          unit.best_price := unit.direction * greatest(unit.direction * unit.best_price, unit.direction * best);
          unit.stop_price := unit.direction * greatest(
            unit.direction * unit.stop_price, unit.direction * unit.best_price * (1 - unit.direction * rules.trailing_stop)
          );
          units[nth] := unit;
        end loop;
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
      end if;
    end if;
    if (held = -1 or held = 1 and close = 0) and (
        cash + holding * close <= 1e-12::float8 * cash
        or realistic_cash + realistic_holding * close - coalesce(borrow_per_day * extract(epoch from closed_at - settled_at)::float8 / 86400, 0) <= 1e-12::float8 * realistic_cash
      ) then
      known_at := null;
      while cardinality(units) > 0 loop
        unit := units[1];
        filled_at := closed_at;
        realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
        settled_at := filled_at;
        reason := case held when 1 then 'worthless' else 'liquidation' end;
        price := close;
        realistic_price := price * (1 - unit.direction * rules.slippage);
        quantity := unit.quantity;
        realistic_quantity := unit.realistic_quantity;
        fee := realistic_quantity * realistic_price * rules.fee;
        cash := cash + unit.direction * quantity * price;
        realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
        if abs(cash) <= 1e-12::float8 * quantity * price then
          cash := 0;
        end if;
        if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
          realistic_cash := 0;
        end if;
        units := units[:1 - 1] || units[1 + 1:];
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
        borrow := coalesce(unit.borrow_per_day * extract(epoch from filled_at - unit.entry_at)::float8 / 86400, 0);
        return next;
      end loop;
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
    end if;
  end loop;
  close bars;
  close events;

  if ends_at is not null and cardinality(units) > 0 then
    select bar.close into close
    from "bars"."fct_bars" as bar
    where
      bar.instrument_id = series_instrument
      and bar.timeframe = rules.timeframe
      and bar.closed_at <= ends_at
      and bar.volume > 0
    order by bar.closed_at desc
    limit 1;
    opened_at := ends_at;
    closed_at := ends_at;
    known_at := null;
    while cardinality(units) > 0 loop
      unit := units[1];
      filled_at := ends_at;
      realistic_cash := realistic_cash - coalesce(borrow_per_day * extract(epoch from filled_at - settled_at)::float8 / 86400, 0);
      settled_at := filled_at;
      reason := case when ends_at = delisted_at then 'delisted' else 'end' end;
      price := close;
      realistic_price := price * (1 - unit.direction * rules.slippage);
      quantity := unit.quantity;
      realistic_quantity := unit.realistic_quantity;
      fee := realistic_quantity * realistic_price * rules.fee;
      cash := cash + unit.direction * quantity * price;
      realistic_cash := realistic_cash + unit.direction * realistic_quantity * realistic_price - fee;
      if abs(cash) <= 1e-12::float8 * quantity * price then
        cash := 0;
      end if;
      if abs(realistic_cash) <= 1e-12::float8 * realistic_quantity * realistic_price then
        realistic_cash := 0;
      end if;
      units := units[:1 - 1] || units[1 + 1:];
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
      borrow := coalesce(unit.borrow_per_day * extract(epoch from filled_at - unit.entry_at)::float8 / 86400, 0);
      return next;
    end loop;
  end if;
end
