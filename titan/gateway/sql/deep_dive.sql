-- One series beside its trailing year.
select dive.* from marts.deep_dive as dive
where dive.instrument_id = %(instrument_id)s and dive.timeframe = %(timeframe)s
