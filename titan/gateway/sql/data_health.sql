-- Whether the candles of each series can be relied on.
select health.* from marts.data_health as health
where health.status = coalesce(%(status)s, health.status)
order by health.exchange, health.symbol, health.instrument_id
