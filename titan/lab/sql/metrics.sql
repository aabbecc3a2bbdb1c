-- What a trial came to in each instrument, after costs.
with data as (
    select distinct
        run_id,
        instrument_id,
        exchange,
        market_type,
        symbol
    from lab.data
)

select
    data.exchange,
    data.market_type,
    data.symbol,
    metric.*
from lab.metric as metric
inner join data on metric.run_id = data.run_id and metric.instrument_id = data.instrument_id
where metric.run_id = %(run_id)s and metric.trial = %(trial)s and metric.account = 'realistic'
order by metric.sharpe desc nulls last, data.exchange, data.market_type, data.symbol
