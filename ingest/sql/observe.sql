-- Adds ranges to what a series' source was asked about; publishes what is new of them, from where observation ended before:
-- a period between the two that was not finished then is now.
with standing as (
    select coalesce(
        (
            select observed from raw.observed
            where instrument_id = %(instrument_id)s and timeframe = %(timeframe)s
        ), '{}'::tstzmultirange
    ) as observed
),

extended as (
    insert into raw.observed as series (instrument_id, timeframe, observed)
    select %(instrument_id)s, %(timeframe)s, %(observed)s::tstzmultirange
    from standing
    where not standing.observed @> %(observed)s::tstzmultirange
    on conflict (instrument_id, timeframe) do update set observed = series.observed + excluded.observed
    returning 1
),

added as (
    select
        %(observed)s::tstzmultirange - standing.observed as added,
        upper(standing.observed) as ended_at
    from standing
    where exists (select from extended)
)

insert into ops.change (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
select
    'raw.observed', %(instrument_id)s, %(timeframe)s, least(lower(added), ended_at) + interval '1 microsecond', upper(added),
    false
from added
