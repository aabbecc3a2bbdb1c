-- What is measured of each series of the batch, over its good rows: one row a series, those without a row included.
with special_day as materialized ({special_days}),

in_order as (
    select
        landing.series,
        landing.opened_at,
        landing.close,
        landing.volume,
        landing.low,
        {is_closed_date} as is_closed_date,
        {is_outside_session} as is_outside_session,
        lag(landing.opened_at) over series_in_order as previous_opened_at,
        lag(landing.close) over series_in_order as previous_close
    from landing
    left join special_day on {trading_date} = special_day.date
    window series_in_order as (partition by landing.series order by landing.opened_at, landing.row_number)
),

landed as (
    select
        series,
        count(*) as row_count,
        count(*) filter (where opened_at is distinct from previous_opened_at) as candle_count,
        count(*) filter (where low = 0) as zero_price_count,
        count(*) filter (where volume = 0) as empty_count,
        count(*) filter (where is_closed_date) as closed_date_count,
        count(*) filter (where is_outside_session) as outside_session_count,
        min(opened_at) as first_opened_at,
        max(opened_at) as last_opened_at,
        max(close) filter (where previous_opened_at is null) as first_close,
        -- A difference of logarithms: the ratio of two prices may not fit a double.
        max(abs(ln(close) - ln(previous_close))) filter (
            where close > 0 and previous_close > 0 and opened_at > previous_opened_at
        ) as largest_log_return
    from in_order
    group by series
),

source as (
    select prints_empty_candles, outage_after from config.exchange
    where exchange in (%(exchange)s, '*')
    order by exchange = '*' limit 1
),

ranged as (
    select
        series.symbol,
        series.asked_until,
        landed.*,
        (select {closed_at} from (select landed.last_opened_at as opened_at) as landing) as last_closed_at,
        standing.close as standing_close,
        case
            when series.asked_from is null then landed.first_opened_at
            -- Before its first known candle a series may just not have existed.
            when observed.observed @> series.asked_from - interval '1 microsecond' then series.asked_from
            else landed.first_opened_at
        end as from_at
    from
        unnest(%(symbols)s::text[], %(asked_from)s::timestamptz[], %(asked_until)s::timestamptz[])
        with ordinality as series (symbol, asked_from, asked_until, number)
    left join landed on series.number - 1 = landed.series
    left join raw.instrument as instrument
        on
            instrument.exchange = %(exchange)s
            and instrument.market_type = %(market_type)s
            and series.symbol = instrument.symbol
    left join raw.observed as observed
        on instrument.instrument_id = observed.instrument_id and observed.timeframe = {timeframe}
    left join raw.ohlcv as standing
        on
            instrument.instrument_id = standing.instrument_id
            and standing.timeframe = {timeframe}
            and landed.first_opened_at = standing.closed_at
            and standing.closed_at between {first_at} and {last_at}
),

counted as (
    select
        ranged.*,
        source.*,
        coalesce(ranged.candle_count, 0) as found_count,
        {expected_count} as expected_count,
        ranged.asked_until - coalesce(ranged.last_closed_at, ranged.from_at) as behind
    from ranged
    cross join source
),

final as (
    select
        symbol,
        first_opened_at as first_at,
        last_closed_at as last_at,
        coalesce(row_count, 0) as row_count,
        found_count as candle_count,
        expected_count,
        case
            when (prints_empty_candles or {is_day_or_longer}) and expected_count >= 1
                then least(found_count / nullif(greatest(expected_count, 0), 0), 1)
        end as completeness,
        case
            when prints_empty_candles or behind > outage_after then extract(epoch from behind) / {seconds}
        end::double precision as periods_behind,
        greatest(
            largest_log_return,
            case when first_close > 0 and standing_close > 0 then abs(ln(first_close) - ln(standing_close)) end
        ) as largest_log_return,
        zero_price_count,
        empty_count::double precision / row_count as zero_volume_share,
        outside_session_count::double precision / nullif(greatest(row_count, {fewest_rows}), 0) as outside_session_share,
        closed_date_count
    from counted
)

select * from final
order by symbol
