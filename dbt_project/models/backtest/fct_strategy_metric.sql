{{ config(materialized='view') }}

{%- set columns = ['first_closed_at', 'last_closed_at', 'bars'] + metrics('returns') + ['is_ruined'] %}

with metric as (
    select
        'instrument' as scope,
        timeframe,
        signal,
        instrument_id,
        account,
        {{ columns | join(',\n        ') }}
    from {{ ref('instrument_metric') }}
    union all
    select
        case signal when '*' then 'portfolio' else 'signal' end as scope,
        timeframe,
        signal,
        null::integer as instrument_id,
        account,
        {{ columns | join(',\n        ') }}
    from {{ ref('portfolio_metric') }}
),

profit as (
    select
        trade.timeframe,
        trade.signal,
        trade.instrument_id,
        trade.trade_number,
        of_account.account,
        of_account.profit,
        of_account.trade_return
    from {{ ref('fct_strategy_trade') }} as trade
    cross join
        lateral (
            values
            ('clean', trade.clean_profit, trade.clean_return),
            ('realistic', trade.realistic_profit, trade.realistic_return)
        ) as of_account (account, profit, trade_return)
    where not trade.is_open
),

-- Of one instrument, of a signal in all of them, and of all signals. Sums of floats have an order, or another build would
-- round them otherwise.
{%- set in_order = 'order by instrument_id, signal, trade_number' %}
traded as (
    select
        timeframe,
        case when grouping(signal) = 1 then '*' else signal end as signal,
        instrument_id,
        account,
        count(*) as trades,
        avg(case when profit > 0 then 1 else 0 end)::float8 as win_rate,
        sum(greatest(profit, 0) {{ in_order }}) / nullif(-sum(least(profit, 0) {{ in_order }}), 0) as profit_factor,
        avg(trade_return {{ in_order }}) as mean_trade_return
    from profit
    group by grouping sets ((timeframe, signal, instrument_id, account), (timeframe, signal, account), (timeframe, account))
)

select
    metric.*,
    coalesce(traded.trades, 0) as trades,
    traded.win_rate,
    traded.profit_factor,
    traded.mean_trade_return
from metric
left join traded
    on
        metric.timeframe = traded.timeframe
        and metric.signal = traded.signal
        and metric.account = traded.account
        and metric.instrument_id is not distinct from traded.instrument_id
