{#-
  The function that turns the events of one signal in one instrument into fills: it walks the bars, fills orders at the open of the next
  traded bar, watches stops and targets, and keeps the two accounts, clean and realistic (docs/backtest.md has the rules).

  Each fill holds what follows from it, the cash and the units that are open, so a series is taken up after the last fill before a change.

  from       {signals, events, bars, costs, delistings, observed}: relations to read; observed, who was asked until when, is none where only
             delistings that were known are given
  standing   the table of fills that it is taken up from, or none
  closes_at_end  whether what is open at the last bar is sold at its close
  is_sparse  whether events are looked up in the bars one by one where no level has to be watched: bars in one plain table
-#}
{% macro fill_loop(name, from, standing=none, is_sparse=false, closes_at_end=false) -%}
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

  {{ fill_rules(from, closes_at_end) }}

  begins_at := {{ first_not_frozen() }};
  {%- if standing %}
  {{ take_up_fills(from, standing) }}
  {%- endif %}

  {{ open_events_and_bars(from, is_sparse) }}

  loop
    fetch bars into opened_at, closed_at, open, high, low, close, is_traded;
    exit when not found or closed_at > ends_at;

    {{ meet_events() }}

    {{ watch_levels() }}

    {{- end_what_is_used_up() }}
  end loop;
  close bars;
  close events;

  {{ sell_at_the_end(from) }}
end
$walk$
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
