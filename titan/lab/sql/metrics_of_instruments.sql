-- Metrics of every trial of a run in each instrument, after costs, to be compared.
select
    metric.trial,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol,
    {metrics}
from lab.metric as metric
inner join bars.dim_instrument as instrument on metric.instrument_id = instrument.instrument_id
where metric.run_id = %(run_id)s and metric.account = 'realistic'
