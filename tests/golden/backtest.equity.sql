-- backtest.equity(
--     series_signal text
--     series_instrument integer
--     series_timeframe text
--     first_at timestamp with time zone
-- ) returns TABLE(opened_at timestamp with time zone, closed_at timestamp with time zone, close double precision, holding double precision, realistic_holding double precision, clean_equity double precision, clean_return double precision, clean_peak double precision, clean_drawdown double precision, realistic_equity double precision, realistic_return double precision, realistic_peak double precision, realistic_drawdown double precision, hold_equity double precision, hold_return double precision, hold_peak double precision, hold_drawdown double precision, realistic_hold_equity double precision, realistic_hold_return double precision, realistic_hold_peak double precision, realistic_hold_drawdown double precision, hold_quantity double precision, realistic_hold_quantity double precision)
#variable_conflict use_column
declare
  begins_at timestamptz;
  last record;
  last_fill_at timestamptz;
begin
  begins_at := greatest(first_at, (
    select horizon.horizon_at from ops.horizon as horizon
    where horizon.instrument_id = series_instrument and horizon.timeframe = series_timeframe
  ));
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
  from "bars"."dim_instrument" as instrument
  left join lateral (
    select bar.open, bar.closed_at
    from "bars"."fct_bars" as bar
    where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and bar.volume > 0 and bar.open > 0
    order by bar.closed_at
    limit 1
  ) as first_bar on true
  cross join lateral (
    select charged.fee_bps, charged.slippage_bps, charged.borrow_bps_per_day
    from "config"."cost" as charged
    where charged.exchange in (instrument.exchange, '*') and charged.market_type in (instrument.market_type, '*')
    order by charged.exchange = '*', charged.market_type = '*'
    limit 1
  ) as cost
  where instrument.instrument_id = series_instrument;
  if begins_at > '-infinity' and to_regclass('backtest.fct_strategy_equity') is not null then
    select row.* into last
    from (
      select
        standing.clean_equity, standing.clean_peak, standing.realistic_equity, standing.realistic_peak, standing.hold_equity,
        standing.hold_peak, standing.realistic_hold_equity, standing.realistic_hold_peak,
        coalesce(standing.hold_quantity, last.hold_quantity) as hold_quantity,
        coalesce(standing.realistic_hold_quantity, last.realistic_hold_quantity) as realistic_hold_quantity,
        case when standing.hold_quantity is null then last.hold_from else '-infinity' end as hold_from,
        standing.closed_at
      from backtest.fct_strategy_equity as standing
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
  select coalesce(max(fill.closed_at), '-infinity') into last_fill_at
  from "backtest"."fill" as fill
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
    from "backtest"."fill" as fill
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
        - coalesce(state.borrow_per_day * extract(epoch from bar.closed_at - state.settled_at)::float8 / 86400, 0) as realistic_equity,
      case when bar.closed_at >= last.hold_from then
        case when min(bar.close) filter (where bar.closed_at >= last.hold_from) over (order by bar.closed_at) > 0
          then last.hold_quantity else 0 end
      end as hold_quantity,
      case when bar.closed_at >= last.hold_from then
        case when min(bar.close) filter (where bar.closed_at >= last.hold_from) over (order by bar.closed_at) > 0
          then last.realistic_hold_quantity else 0 end
      end as realistic_hold_quantity
    from state
    cross join lateral (
      select
        bar.opened_at,
        bar.closed_at,
        bar.close
      from "bars"."fct_bars" as bar
      where
        bar.instrument_id = series_instrument
        and bar.timeframe = series_timeframe
        and bar.closed_at >= greatest(state.closed_at, begins_at)
        and bar.closed_at < state.until_at
      order by bar.closed_at
    ) as bar
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
      valued.*,
      case when lag(valued.clean_equity, 1, last.clean_equity) over bars > 0 then valued.clean_equity / lag(valued.clean_equity, 1, last.clean_equity) over bars - 1 else 0 end
        as clean_return,
      greatest(last.clean_peak, max(valued.clean_equity) over bars) as clean_peak,
      valued.clean_equity / greatest(last.clean_peak, max(valued.clean_equity) over bars) - 1
        as clean_drawdown,
      case when lag(valued.realistic_equity, 1, last.realistic_equity) over bars > 0 then valued.realistic_equity / lag(valued.realistic_equity, 1, last.realistic_equity) over bars - 1 else 0 end
        as realistic_return,
      greatest(last.realistic_peak, max(valued.realistic_equity) over bars) as realistic_peak,
      valued.realistic_equity / greatest(last.realistic_peak, max(valued.realistic_equity) over bars) - 1
        as realistic_drawdown,
      case when lag(valued.hold_equity, 1, last.hold_equity) over bars > 0 then valued.hold_equity / lag(valued.hold_equity, 1, last.hold_equity) over bars - 1 else 0 end
        as hold_return,
      greatest(last.hold_peak, max(valued.hold_equity) over bars) as hold_peak,
      valued.hold_equity / greatest(last.hold_peak, max(valued.hold_equity) over bars) - 1
        as hold_drawdown,
      case when lag(valued.realistic_hold_equity, 1, last.realistic_hold_equity) over bars > 0 then valued.realistic_hold_equity / lag(valued.realistic_hold_equity, 1, last.realistic_hold_equity) over bars - 1 else 0 end
        as realistic_hold_return,
      greatest(last.realistic_hold_peak, max(valued.realistic_hold_equity) over bars) as realistic_hold_peak,
      valued.realistic_hold_equity / greatest(last.realistic_hold_peak, max(valued.realistic_hold_equity) over bars) - 1
        as realistic_hold_drawdown
    from valued
    window bars as (order by valued.closed_at)
  )

  select
    followed.opened_at,
    followed.closed_at,
    followed.close,
    followed.holding,
    followed.realistic_holding,
    followed.clean_equity,
    followed.clean_return,
    followed.clean_peak,
    followed.clean_drawdown,
    followed.realistic_equity,
    followed.realistic_return,
    followed.realistic_peak,
    followed.realistic_drawdown,
    followed.hold_equity,
    followed.hold_return,
    followed.hold_peak,
    followed.hold_drawdown,
    followed.realistic_hold_equity,
    followed.realistic_hold_return,
    followed.realistic_hold_peak,
    followed.realistic_hold_drawdown,
    followed.hold_quantity,
    followed.realistic_hold_quantity
  from followed;
end
