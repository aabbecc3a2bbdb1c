-- What a walk-forward goes over, in one hash.
select
    encode(
        sha256(
            convert_to(
                string_agg(
                    coalesce(lab.hash_of_bars(instrument.instrument_id, timeframe.timeframe, %(until)s), 'none'), ' '
                    order by instrument.instrument_id, timeframe.timeframe
                ), 'UTF8'
            )
        ), 'hex'
    )
from unnest(%(instruments)s::integer[]) as instrument (instrument_id)
cross join unnest(%(timeframes)s::text[]) as timeframe (timeframe)
