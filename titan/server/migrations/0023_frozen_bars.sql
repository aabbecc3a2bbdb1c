-- On the Community edition, bars whose candles were dropped stood in the continuous aggregates alone, where any refresh of all times
-- deleted them. They move into the table. Until the next build redefines the view, it would show both: it shows each once.
do $$
begin
    if to_regclass('bars.rollup_5m') is not null and exists (select from ops.horizon) then
        execute format(
            'create or replace view bars.rollup as select distinct * from (%s) as bar',
            rtrim(pg_get_viewdef('bars.rollup'::regclass), ';')
        );
        insert into bars.rollup_stored (
            instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count, price_factor,
            bar_count, missing_count, is_partial
        )
        select
            bar.instrument_id, bar.timeframe, bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume,
            bar.quote_volume, bar.trade_count, bar.price_factor, bar.bar_count, bar.missing_count, bar.is_partial
        from bars.rollup as bar
        inner join ops.horizon as horizon using (instrument_id)
        where bar.closed_at <= horizon.horizon_at
        on conflict do nothing;
    end if;
end $$;

-- A dividend is weighed against the last price before it, which may be gone, and a factor that came late would part the bars on the two
-- sides of the horizon.
create function raw.keep_frozen_adjustment() returns trigger language plpgsql as $$
declare
    touched raw.adjustment := coalesce(new, old);
    frozen_until timestamptz := (
        select horizon.horizon_at
        from ops.horizon as horizon
        inner join raw.instrument as instrument using (instrument_id)
        inner join config.session as session using (session_id)
        where
            instrument_id = touched.instrument_id
            and horizon.horizon_at >= least(new.ex_date, old.ex_date)::timestamp at time zone session.timezone
    );
begin
    if frozen_until is not null then
        raise exception 'raw.adjustment: the % of % cannot change any more: the bars that closed by % are frozen',
            touched.kind, touched.ex_date, frozen_until
        using hint = 'Leave it out: bars after it are adjusted by what is stored, or by what goes ex after it.';
    end if;
    return touched;
end $$;
create trigger keep_frozen before insert or update or delete on raw.adjustment
for each row execute function raw.keep_frozen_adjustment();
