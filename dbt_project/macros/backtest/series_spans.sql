{#-
  The function that sums up the returns of one trial in one instrument, span by span as equity_sum does from rows of fct_strategy_equity,
  without making those rows: it looks only at bars at which something is held or was just left, since at all others the return is zero.
  For the portfolio it hands on the realistic returns of those bars.
-#}
{% macro series_spans(name, from, is_same_timeframe) -%}
create or replace function {{ name }}(series_signal text, series_instrument integer, series_timeframe text)
returns table (
  closed_at timestamptz,
  bars_held bigint
  {%- for account in ['clean', 'realistic'] %},
  {{ account }}_drawdown float8
  {%- for name in return_sums('') %},
  {{ account }}_{{ name }} float8
  {%- endfor %}
  {%- endfor %},
  instants timestamptz[],
  returns float8[],
  is_held boolean[]
)
language plpgsql stable strict parallel safe cost 1000000 as $spans$
#variable_conflict use_column
begin
  return query
  with fill as (
    select distinct on (filled.closed_at) filled.*
    from (
      select
        {#- The bar in which it shows; without looking for it where the fill is one of that bar. #}
        case
          when {{ is_same_timeframe }} and fill.opened_at < fill.closed_at then fill.closed_at
          else (
            select bar.closed_at
            from {{ from.bars }} as bar
            where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and bar.closed_at >= fill.closed_at
            order by bar.closed_at
            limit 1
          )
        end as closed_at,
        fill.fill_number, fill.cash, fill.holding, fill.realistic_cash, fill.realistic_holding, fill.borrow_per_day, fill.settled_at
      from {{ from.fills }} as fill
      where fill.instrument_id = series_instrument and fill.timeframe = series_timeframe and fill.signal = series_signal
    ) as filled
    where filled.closed_at is not null
    order by filled.closed_at, filled.fill_number desc
  ),

  state as (
    select
      fill.*,
      case when fill.holding <> 0 then lead(fill.closed_at, 1, 'infinity') over fills else fill.closed_at + interval '1 microsecond' end
        as until_at,
      lag(fill.cash, 1, 1) over fills as cash_before,
      lag(fill.holding, 1, 0) over fills as holding_before,
      lag(fill.realistic_cash, 1, 1) over fills as realistic_cash_before,
      lag(fill.realistic_holding, 1, 0) over fills as realistic_holding_before,
      lag(fill.borrow_per_day, 1, 0) over fills as borrow_before,
      lag(fill.settled_at) over fills as settled_before
    from fill
    window fills as (order by fill.closed_at)
  ),

  valued as (
    select
      bar.closed_at,
      state.holding <> 0 as is_held,
      state.cash + state.holding * bar.close as clean_equity,
      case
        when bar.closed_at = state.closed_at then state.cash_before + state.holding_before * coalesce(bar.previous_close, 0)
        else state.cash + state.holding * bar.previous_close
      end as clean_before,
      state.realistic_cash + state.realistic_holding * bar.close
        - case when state.borrow_per_day <> 0 then {{ borrow_until('state.borrow_per_day', 'state.settled_at', 'bar.closed_at') }} else 0 end
        as realistic_equity,
      case
        when bar.closed_at = state.closed_at then
          state.realistic_cash_before + state.realistic_holding_before * coalesce(bar.previous_close, 0)
          - case
            when state.borrow_before <> 0 then {{ borrow_until('state.borrow_before', 'state.settled_before', 'bar.previous_closed_at') }}
            else 0
          end
        else
          state.realistic_cash + state.realistic_holding * bar.previous_close
          - case
            when state.borrow_per_day <> 0 then {{ borrow_until('state.borrow_per_day', 'state.settled_at', 'bar.previous_closed_at') }}
            else 0
          end
      end as realistic_before
    from state
    cross join lateral {{ bars_of_state(from.bars, ['closed_at', 'close', 'previous_close', 'previous_closed_at'], 'state.closed_at') }} as bar
  ),

  followed as (
    select
      valued.closed_at,
      valued.is_held,
      valued.clean_equity,
      valued.realistic_equity,
      {{ account_return('valued.clean_equity', 'valued.clean_before') }} as clean_return,
      {{ account_return('valued.realistic_equity', 'valued.realistic_before') }} as realistic_return,
      max(valued.clean_equity) over bars as clean_peak,
      max(valued.realistic_equity) over bars as realistic_peak
    from valued
    window bars as (order by valued.closed_at)
  )

  {#- Their rows come in the order of their bars: sorting them for every sum would take longer than summing. #}
  select
    max(followed.closed_at),
    count(*) filter (where followed.is_held)
    {%- for account in ['clean', 'realistic'] %},
    min(followed.{{ account }}_equity / greatest(followed.{{ account }}_peak, 1) - 1)
    {%- for sum in return_sums('followed.' ~ account ~ '_return').values() %},
    {{ sum }}
    {%- endfor %}
    {%- endfor %},
    array_agg(followed.closed_at),
    array_agg(followed.realistic_return),
    array_agg(followed.is_held)
  from followed
  group by {{ span_of('followed.closed_at') }};
end
$spans$
{%- endmacro %}
