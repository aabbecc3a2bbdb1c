-- The symbols of the largest turnover over the days before each rebalancing, as stretches in which they stayed chosen; only
-- what had closed by a rebalancing is looked at.
with rebalancing as (
    select
        moment as chosen_at,
        lead(moment) over (order by moment) as next_at
    from generate_series(%(since)s::timestamp, %(until)s::timestamp, %(every)s::interval) as moment
),

daily as (
    select
        instrument.symbol,
        bars.closed_at at time zone 'UTC' as closed_at,
        coalesce(bars.quote_volume, bars.close * bars.volume) as turnover
    from bars.fct_bars as bars
    inner join bars.dim_instrument as instrument on bars.instrument_id = instrument.instrument_id
    where
        bars.timeframe = '1D'
        and instrument.exchange = %(exchange)s
        and instrument.market_type = %(market_type)s
        and instrument.symbol like %(pattern)s
        and bars.closed_at > (%(since)s::timestamp - %(days)s::interval) at time zone 'UTC'
),

ranked as (
    select
        rebalancing.chosen_at,
        rebalancing.next_at,
        daily.symbol,
        row_number() over (
            partition by rebalancing.chosen_at order by sum(daily.turnover) desc, daily.symbol
        ) as place
    from rebalancing
    inner join daily
        on
            rebalancing.chosen_at - %(days)s::interval < daily.closed_at
            and rebalancing.chosen_at >= daily.closed_at
    group by rebalancing.chosen_at, rebalancing.next_at, daily.symbol
    having sum(daily.turnover) > 0
),

chosen as (
    select
        *,
        coalesce(lag(next_at) over (partition by symbol order by chosen_at) <> chosen_at, true) as is_new
    from ranked
    where place <= %(most)s
),

stretch as (
    select
        *,
        count(*) filter (where is_new) over (partition by symbol order by chosen_at) as number
    from chosen
)

insert into config.universe (universe, exchange, symbol, from_date, to_date, reason)
select
    %(universe)s,
    %(exchange)s,
    symbol,
    min(chosen_at)::date,
    case when bool_or(next_at is null) then null else max(next_at)::date end,
    %(reason)s
from stretch
group by symbol, number
returning symbol, from_date, to_date
