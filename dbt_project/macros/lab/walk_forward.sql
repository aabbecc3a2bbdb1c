{#- What a walk-forward came to out of sample, as a statement: lab.walk_equity says what its folds gave, one after the other. -#}
{% macro walk_forward_metrics(walk_id) %}
with equity as (
    select * from lab.walk_equity where walk_id = {{ walk_id }}
),

tested as (
    select fold.test_run_id, fold.trial, walk.timeframe, walk.instruments
    from lab.fold as fold
    inner join lab.walk as walk on fold.walk_id = walk.walk_id
    where fold.walk_id = {{ walk_id }}
),

of_year as (
    select max(series.bars_per_year) as bars_per_year
    from {{ ref('bars_per_year') }} as series
    inner join tested on series.timeframe = tested.timeframe and series.instrument_id = any (tested.instruments)
),

held as (
    select sum(portfolio.exposure * portfolio.bars) / sum(portfolio.bars) as exposure
    from lab.portfolio_metric as portfolio
    inner join tested on portfolio.run_id = tested.test_run_id
),

in_columns as (
    select
        equity.walk_id,
        of_year.bars_per_year,
        min(equity.closed_at) as first_closed_at,
        max(equity.closed_at) as last_closed_at,
        count(*) as bars,
        held.exposure
        {%- for name, sum in account_sums('realistic').items() %},
        {{ sum }} as {{ name }}
        {%- endfor %}
    from equity
    cross join of_year
    cross join held
    group by equity.walk_id, of_year.bars_per_year, held.exposure
),

{{ sums_by_account(['walk_id'], ['realistic']) }},

{{ metrics_of_sums(['walk_id']) }},

traded as (
    select
        count(*) as trades,
        avg(case when trade.realistic_profit > 0 then 1 else 0 end)::float8 as win_rate,
        sum(greatest(trade.realistic_profit, 0) order by trade.run_id, trade.instrument_id, trade.trade_number)
        / nullif(-sum(least(trade.realistic_profit, 0) order by trade.run_id, trade.instrument_id, trade.trade_number), 0)
            as profit_factor
    from lab.trade as trade
    inner join tested on trade.run_id = tested.test_run_id
    where not trade.is_open
)

insert into lab.walk_metric (
    walk_id, first_closed_at, last_closed_at, bars, {{ columns_of('', metrics('returns') + metrics('trades')) }}, result_hash
)
select
    metric.walk_id, metric.first_closed_at, metric.last_closed_at, metric.bars,
    {{ columns_of('metric', metrics('returns')) }},
    {{ columns_of('traded', metrics('trades')) }},
    (
        select encode(sha256(convert_to(
            (select string_agg(fold.params_hash || fold.in_sample, ' ' order by fold.fold) from lab.fold as fold where fold.walk_id = metric.walk_id)
            || string_agg(equity.closed_at || ' ' || equity.realistic_equity, ' ' order by equity.closed_at), 'UTF8'
        )), 'hex')
        from equity
    )
from metric
cross join traded
{% endmacro %}
