-- Takes the rows out of the landing that lie before their horizon: what is frozen is not changed.
delete from landing
using (
    select
        landed.instrument_id,
        coalesce(
            greatest(own.horizon_at, case when session.is_24_7 then latest.around_the_clock_at end), latest.horizon_at
        ) as horizon_at
    from raw.instrument as landed
    inner join config.session as session on landed.session_id = session.session_id
    left join ops.horizon as own on landed.instrument_id = own.instrument_id
    cross join (
        select
            max(one.horizon_at) as horizon_at,
            max(one.horizon_at) filter (where session_of_one.is_24_7) as around_the_clock_at
        from ops.horizon as one
        inner join raw.instrument as instrument_of_one on one.instrument_id = instrument_of_one.instrument_id
        inner join config.session as session_of_one on instrument_of_one.session_id = session_of_one.session_id
    ) as latest
    where landed.instrument_id = any({instruments}::integer[])
) as horizon
where horizon.instrument_id = {instrument_id} and {closed_at} < horizon.horizon_at
returning landing.row_number, landing.series
