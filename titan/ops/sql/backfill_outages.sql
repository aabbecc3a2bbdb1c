-- Outages of known series that have not been asked about a second time, once they are old enough to have been mended.
select
    known.*,
    gap.gap_opened_at as from_at,
    gap.gap_closed_at as until_at,
    'outage' as reason
from known
inner join bars.gap as gap on known.instrument_id = gap.instrument_id and known.timeframe = gap.timeframe
where
    gap.gap_kind = 'outage'
    and gap.gap_closed_at > known.begins_at
    and gap.closed_at < %(as_of)s::timestamptz - {patience}::interval
    and not exists (
        select from ops.asked_again
        where
            asked_again.instrument_id = gap.instrument_id
            and asked_again.timeframe = gap.timeframe
            and asked_again.gap_opened_at = gap.gap_opened_at
            and asked_again.gap_closed_at = gap.gap_closed_at
    )
