-- Where the price of one instrument stands.
select summary.* from marts.market_summary as summary
where summary.instrument_id = %(instrument_id)s
