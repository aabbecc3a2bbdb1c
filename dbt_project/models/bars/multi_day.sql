{{ config(memory='bucket', bucket='days', key=['instrument_id', 'timeframe', 'closed_at']) }}

with timeframe as (
    select * from {{ ref('dim_timeframe') }}
    where not is_intraday and timeframe <> '1D'
),

-- One timeframe at a time: within it the days come in the order of the key, and nothing has to be sorted on disk.
whole as (
    select
        timeframe.timeframe,
        bar.*
    from timeframe
    cross join
        lateral (
            select
                fed.instrument_id,
                fed.bar_number,
                null::timestamptz as closed_at,
                null::date as trading_date,
                null::integer as trading_day_number,
                {{ bar_columns() | indent(12) }}
            from {{ feed(ref('daily_of_bar'), timeframe='timeframe.timeframe') }}
            where fed.timeframe = timeframe.timeframe
            group by fed.instrument_id, fed.bar_number
        ) as bar
    where not timeframe.is_anchored
),

to_date as (
    select
        timeframe.timeframe,
        bar.*
    from timeframe
    cross join
        lateral (
            select
                fed.instrument_id,
                fed.bar_number,
                fed.closed_at,
                fed.trading_date,
                fed.trading_day_number,
                {{ bar_columns_so_far() | indent(12) }}
            from {{ feed(ref('daily_of_bar'), timeframe='timeframe.timeframe') }}
            where fed.timeframe = timeframe.timeframe
            window so_far as (partition by fed.instrument_id, fed.bar_number order by fed.closed_at)
        ) as bar
    where timeframe.is_anchored
),

bar as (
    select * from whole
    union all
    select * from to_date
),

-- A period of which holidays left no trading day has no bounds, and no bar.
bounded as (
    select
        bar.*,
        instrument.base_timeframe,
        timeframe.allow_partial_start,
        period.opened_at,
        period.closed_at as period_closed_at,
        coalesce(bar.closed_at, period.closed_at) as bar_closed_at,
        coalesce(bar.trading_day_number, period.last_number) - period.first_number + 1 as day_count,
        -- In the days that the timeframe counts: trading days, or those of the calendar.
        case
            when timeframe.base_unit = 'D' then timeframe.quantity
            else coalesce(bar.trading_date + 1, period.end_date) - period.first_date
        end as tf_days_realized
    from bar
    inner join {{ ref('dim_timeframe') }} as timeframe on bar.timeframe = timeframe.timeframe
    inner join {{ ref('dim_instrument') }} as instrument on bar.instrument_id = instrument.instrument_id
    {{ join_period('timeframe', 'instrument.session_id', 'bar.bar_number') | indent(4) }}
),

-- A bar is finished once its source was asked about the time past its end, whatever the clock says.
final as (
    select
        bounded.instrument_id,
        bounded.timeframe,
        bounded.opened_at,
        bounded.bar_closed_at as closed_at,
        bounded.open,
        bounded.high,
        bounded.low,
        bounded.close,
        bounded.volume,
        bounded.quote_volume,
        bounded.trade_count,
        bounded.price_factor,
        bounded.bar_count,
        bounded.day_count - bounded.bar_count as missing_count,
        bounded.tf_days_realized,
        bounded.bar_number,
        not observed.observed @> bounded.opened_at
        or bounded.bar_closed_at < bounded.period_closed_at as is_partial
    from bounded
    inner join {{ ref('observed') }} as observed
        on
            bounded.instrument_id = observed.instrument_id
            and bounded.base_timeframe = observed.timeframe
    where
        bounded.bar_closed_at <= observed.observed_until
        and (bounded.allow_partial_start or observed.observed @> bounded.opened_at)
)

select * from final
