with instrument as (
    select * from {{ ref('dim_instrument') }}
),

timeframe as (
    select * from {{ ref('dim_timeframe') }}
),

subscription as (
    select distinct
        exchange,
        symbol,
        timeframe
    from {{ source('config', 'subscription') }}
    where is_active
),

spelling as (
    select distinct
        instrument_id,
        exchange,
        market_type,
        symbol
    from {{ source('raw', 'instrument_name') }}
),

-- What was turned away and nobody has decided on yet, under any name that the instrument went by.
turned_away as (
    select
        spelling.instrument_id,
        quarantine.timeframe,
        count(*) as quarantined_count,
        mode() within group (order by quarantine.reason) as quarantine_reason
    from {{ source('raw', 'quarantine') }} as quarantine
    inner join spelling
        on
            quarantine.exchange = spelling.exchange
            and quarantine.market_type = spelling.market_type
            and quarantine.symbol = spelling.symbol
    where quarantine.resolution is null
    group by spelling.instrument_id, quarantine.timeframe
),

series as (
    select
        instrument.instrument_id,
        instrument.exchange,
        instrument.market_type,
        instrument.symbol,
        completeness.timeframe,
        completeness.first_at as first_opened_at,
        completeness.last_at as last_closed_at,
        completeness.observed_until,
        completeness.candle_count,
        completeness.no_trade_count,
        completeness.outage_count,
        completeness.not_fetched_count,
        completeness.completeness,
        coalesce(turned_away.quarantined_count, 0) as quarantined_count,
        turned_away.quarantine_reason,
        (
            select count(*) from {{ source('raw', 'ohlcv_revision') }} as revision
            where
                revision.instrument_id = instrument.instrument_id
                and revision.timeframe = completeness.timeframe
        ) as revision_count,
        reconciled.reconciled_at,
        reconciled.compared as reconciled_count,
        reconciled.differing as differing_count,
        subscription.symbol is not null as is_subscribed,
        greatest(5 * make_interval(secs => timeframe.duration_seconds), interval '15 minutes') as patience
    from {{ ref('completeness') }} as completeness
    inner join instrument on completeness.instrument_id = instrument.instrument_id
    inner join timeframe on completeness.timeframe = timeframe.timeframe
    left join subscription
        on
            instrument.exchange = subscription.exchange
            and instrument.symbol = subscription.symbol
            and completeness.timeframe = subscription.timeframe
            and (subscription.symbol like '%:%') = (instrument.market_type <> 'spot')
    left join turned_away
        on
            instrument.instrument_id = turned_away.instrument_id
            and completeness.timeframe = turned_away.timeframe
    left join {{ source('ops', 'series_reconciliation') }} as reconciled
        on instrument.instrument_id = reconciled.instrument_id
)

select
    instrument_id,
    exchange,
    market_type,
    symbol,
    timeframe,
    -- The worst thing first; how long a source may be silent is what the alert rule series_stale says.
    case
        when differing_count > 0 then 'differs'
        when is_subscribed and observed_until + patience < now() then 'stale'
        when quarantined_count > 0 then 'quarantine'
        when outage_count > 0 then 'outage'
        when not_fetched_count > 0 then 'not_fetched'
        else 'ok'
    end as status,
    is_subscribed,
    first_opened_at,
    last_closed_at,
    now() - last_closed_at as last_candle_age,
    observed_until,
    now() - observed_until as observed_age,
    candle_count,
    no_trade_count,
    outage_count,
    not_fetched_count,
    completeness,
    quarantined_count,
    quarantine_reason,
    revision_count,
    reconciled_at,
    reconciled_count,
    differing_count
from series
