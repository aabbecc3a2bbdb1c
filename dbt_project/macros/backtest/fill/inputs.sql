{#- How the signal is traded in the instrument, what that costs, and when both end. -#}
{% macro fill_rules(from, closes_at_end) -%}
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
{%- endmacro %}


{#- The accounts as the fills before a change left them. -#}
{% macro take_up_fills(from, standing) -%}
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
{%- endmacro %}


{#- What is gone through: the events in the order in which they became known, and the bars that the signal is traded on. -#}
{% macro open_events_and_bars(from, is_sparse) -%}
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
