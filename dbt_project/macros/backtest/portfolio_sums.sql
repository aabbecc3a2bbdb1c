{#- What a portfolio returns, in a row that has what its accounts return and what it is worth after: nothing once it is ruined. -#}
{% macro return_while_it_lives(row, account, bars) -%}
case when lag({{ row }}.{{ account }}_equity, 1, 1::float8) over {{ bars }} > 0 then {{ row }}.{{ account }}_return else 0 end
{%- endmacro %}


{#- The function that puts together what one trial returned in all instruments, in equal parts every bar anew, as fct_portfolio_equity does. -#}
{% macro portfolio_sums(name, from) -%}
{%- set sums = account_sums('realistic') -%}
create or replace function {{ name }}(series_signal text)
returns table (
  first_closed_at timestamptz,
  last_closed_at timestamptz,
  bars bigint,
  exposure float8,
  returns float8[]
  {%- for name in sums %},
  {{ name }} {{ 'bigint' if name.endswith('_n') else 'float8' }}
  {%- endfor %}
)
language plpgsql stable strict parallel safe cost 1000000 as $portfolio$
#variable_conflict use_column
begin
  return query
  with moved as (
    select
      one.closed_at,
      sum(one.value order by span.instrument_id) as total,
      count(*) filter (where one.is_held) as held
    from {{ from.spans }} as span
    cross join lateral unnest(span.instants, span.returns, span.is_held) as one (closed_at, value, is_held)
    where span.signal = series_signal
    group by one.closed_at
  ),

  returned as (
    select
      instant.closed_at,
      coalesce(moved.held, 0) / instant.instruments::float8 as exposure,
      coalesce(moved.total, 0) / instant.instruments as realistic_return
    from {{ from.instants }} as instant
    left join moved on instant.closed_at = moved.closed_at
  ),

  compounded as (
    select
      returned.*,
      backtest.compounded(1 + returned.realistic_return) over (order by returned.closed_at) as realistic_equity
    from returned
  ),

  followed as (
    select
      compounded.closed_at,
      compounded.exposure,
      compounded.realistic_equity,
      {{ return_while_it_lives('compounded', 'realistic', '(order by compounded.closed_at)') }} as realistic_return,
      compounded.realistic_equity / greatest(1, max(compounded.realistic_equity) over (order by compounded.closed_at)) - 1
        as realistic_drawdown
    from compounded
  )

  select
    min(closed_at),
    max(closed_at),
    count(*),
    avg(exposure order by closed_at),
    array_agg(realistic_return order by closed_at)
    {%- for sum in sums.values() %},
    {{ sum }}
    {%- endfor %}
  from followed;
end
$portfolio$
{%- endmacro %}
