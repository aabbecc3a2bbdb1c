with instrument as (
    select * from {{ ref('dim_instrument') }}
),

-- Read twice, and each time by index: made once and kept, it would be all bars there are.
bars as not materialized (
    select * from {{ ref('fct_bars') }}
),

gap as (
    select * from {{ ref('gap') }}
),

-- Index reads, one series at a time: a window over all bars would read the whole history to show its last row.
last_bar as (
    select
        instrument.instrument_id,
        latest.close,
        latest.closed_at
    from instrument
    cross join lateral (
        select
            bars.close,
            bars.closed_at
        from bars
        where
            bars.instrument_id = instrument.instrument_id
            and bars.timeframe = instrument.base_timeframe
            and bars.closed_at <= {{ as_of() }}
        order by bars.closed_at desc
        limit 1
    ) as latest
),

span (days) as (
    values (1), (7), (30)
),

moment as (
    select
        last_bar.instrument_id,
        instrument.base_timeframe,
        span.days,
        last_bar.closed_at - make_interval(hours => 24 * span.days) as closed_at
    from last_bar
    inner join instrument on last_bar.instrument_id = instrument.instrument_id
    cross join span
),

-- The price at a moment is that of the last bar closed by then, if there was one within the five days before.
earlier_bar as (
    select
        moment.instrument_id,
        moment.days,
        earlier.close
    from moment
    inner join lateral (
        select bars.close
        from bars
        where
            bars.instrument_id = moment.instrument_id
            and bars.timeframe = moment.base_timeframe
            and bars.closed_at <= moment.closed_at
            and bars.closed_at > moment.closed_at - interval '120 hours'
        order by bars.closed_at desc
        limit 1
    ) as earlier on earlier.close > 0
),

change as (
    select
        last_bar.instrument_id,
        max(last_bar.close / earlier_bar.close - 1) filter (where earlier_bar.days = 1) as change_1d,
        max(last_bar.close / earlier_bar.close - 1) filter (where earlier_bar.days = 7) as change_7d,
        max(last_bar.close / earlier_bar.close - 1) filter (where earlier_bar.days = 30) as change_30d
    from last_bar
    inner join earlier_bar on last_bar.instrument_id = earlier_bar.instrument_id
    group by last_bar.instrument_id
),

gap_count as (
    select
        gap.instrument_id,
        count(*) as gap_count,
        count(*) filter (where gap.gap_kind = 'outage') as outage_count,
        sum(gap.missing_count) as missing_count
    from gap
    inner join instrument
        on
            gap.instrument_id = instrument.instrument_id
            and gap.timeframe = instrument.base_timeframe
    where gap.gap_kind <> 'outside_session' and gap.closed_at <= {{ as_of() }}
    group by gap.instrument_id
)

select
    instrument.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    instrument.base_timeframe,
    last_bar.close as last_price,
    last_bar.closed_at as last_closed_at,
    now() - last_bar.closed_at as last_candle_age,
    change.change_1d,
    change.change_7d,
    change.change_30d,
    coalesce(gap_count.gap_count, 0)::bigint as gap_count,
    coalesce(gap_count.outage_count, 0)::bigint as outage_count,
    coalesce(gap_count.missing_count, 0)::bigint as missing_count
from instrument
inner join last_bar on instrument.instrument_id = last_bar.instrument_id
left join change on instrument.instrument_id = change.instrument_id
left join gap_count on instrument.instrument_id = gap_count.instrument_id
