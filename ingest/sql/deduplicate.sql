-- Of several rows for one candle the last one counts. The others leave the landing; those among them that say something else
-- are reported, to be kept in quarantine.
with contender as (
    select
        landing.*,
        first_value(landing.row_number) over latest_first as last_row_number,
        first_value(
            row(
                landing.open,
                landing.high,
                landing.low,
                landing.close,
                landing.volume,
                landing.quote_volume,
                landing.trade_count
            )
        ) over latest_first as last_values
    from landing
    window latest_first as (partition by series, opened_at order by row_number desc)
),

superseded as (
    delete from landing
    using contender
    where
        landing.row_number = contender.row_number
        and contender.row_number <> contender.last_row_number
    returning
        contender.row_number,
        contender.series,
        row(
            contender.open, contender.high, contender.low, contender.close, contender.volume, contender.quote_volume,
            contender.trade_count
        ) is distinct from contender.last_values as is_conflict
)

select row_number, series, is_conflict from superseded
order by row_number
