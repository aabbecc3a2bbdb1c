-- How the returns of several instruments went together, each pair once.
select pair.* from marts.correlation as pair
where
    pair.timeframe = %(timeframe)s
    and pair.instrument_id_a = any(%(instruments)s)
    and pair.instrument_id_b = any(%(instruments)s)
    and pair.instrument_id_a <= pair.instrument_id_b
order by pair.instrument_id_a, pair.instrument_id_b
