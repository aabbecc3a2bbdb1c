-- US stocks, as their provider has them.
insert into config.exchange (exchange, session_id, prints_empty_candles, outage_after)
values ('alpacastocks', 'EQUITY', false, '6 hours')
on conflict (exchange) do nothing;
