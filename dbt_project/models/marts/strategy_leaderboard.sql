{%- set shown = metrics('returns') | reject('in', ['skewness', 'kurtosis']) | list %}
-- What it earned with its costs, and beside it without them and by buying and holding.
with metric as (
    select
        scope,
        signal,
        timeframe,
        instrument_id,
        min(first_closed_at) as first_closed_at,
        max(last_closed_at) as last_closed_at,
        max(bars) as bars,
        max(trades) filter (where account = 'realistic') as trades,
        max(win_rate) filter (where account = 'realistic') as win_rate,
        {%- for name in shown %}
            max({{ name }}) filter (where account = 'realistic') as {{ name }},
        {%- endfor %}
        {%- for account, prefix in [('clean', 'clean'), ('realistic_hold', 'hold')] %}
            {%- for name in ['total_return', 'sharpe', 'maximum_drawdown'] %}
                max({{ name }}) filter (where account = '{{ account }}') as {{ prefix }}_{{ name }},
            {%- endfor %}
        {%- endfor %}
        bool_or(is_ruined) filter (where account = 'realistic') as is_ruined,
        max(profit_factor) filter (where account = 'realistic') as profit_factor
    from {{ ref('fct_strategy_metric') }}
    group by scope, signal, timeframe, instrument_id
),

live as (
    select distinct params_hash
    from {{ source('lab', 'strategy_status') }}
    where status = 'active'
)

select
    rank() over (partition by metric.scope, metric.timeframe order by metric.sharpe desc nulls last)::integer as leader_rank,
    metric.scope,
    metric.signal,
    signal.type as signal_type,
    metric.timeframe,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    metric.first_closed_at,
    metric.last_closed_at,
    metric.bars,
    metric.trades,
    metric.win_rate,
    metric.profit_factor,
    {%- for name in shown %}
        metric.{{ name }},
    {%- endfor %}
    {%- for prefix in ['clean', 'hold'] %}
        {%- for name in ['total_return', 'sharpe', 'maximum_drawdown'] %}
            metric.{{ prefix }}_{{ name }},
        {%- endfor %}
    {%- endfor %}
    metric.instrument_id,
    live.params_hash is not null as is_live,
    metric.is_ruined
from metric
left join {{ ref('dim_signal') }} as signal on metric.signal = signal.signal
left join {{ ref('dim_instrument') }} as instrument on metric.instrument_id = instrument.instrument_id
left join live on signal.params_hash = live.params_hash
