-- What is still to be asked of each wanted series: the time that its source has never been asked about, and, of outages that
-- have not been asked about a second time, each once more. One row a stretch; the candles beside it are read again.
with wanted as (
    select wanted.*
    from unnest(
        %(exchanges)s::text[], %(symbols)s::text[], %(timeframes)s::text[], %(since)s::timestamptz[], %(periods)s::interval[]
    ) as wanted (exchange, symbol, timeframe, since, period)
),

known as (
    select
        wanted.*,
        coalesce(
            wanted.since, config.history_begins(wanted.exchange, wanted.timeframe, %(as_of)s::timestamptz)
        ) as begins_at,
        instrument.instrument_id,
        observed.observed
    from wanted
    left join raw.instrument as instrument
        on
            wanted.exchange = instrument.exchange
            and wanted.symbol = instrument.symbol
            and (wanted.symbol like '%%:%%') = (instrument.market_type <> 'spot')
    left join raw.observed as observed
        on instrument.instrument_id = observed.instrument_id and wanted.timeframe = observed.timeframe
),

never_asked as (
    select
        known.*,
        lower(stretch.missing) as from_at,
        upper(stretch.missing) as until_at,
        case
            when known.observed is null then 'new'
            when upper(stretch.missing) <= lower(known.observed) then 'earlier'
            when lower(stretch.missing) >= upper(known.observed) then 'later'
            else 'not_fetched'
        end as reason
    from known
    cross join
        unnest(
            tstzmultirange(tstzrange(least(known.begins_at, %(as_of)s::timestamptz), %(as_of)s::timestamptz))
            - coalesce(known.observed, '{{}}'::tstzmultirange)
        ) as stretch (missing)
    where upper(stretch.missing) - lower(stretch.missing) >= known.period
),

outage as ({outages}),

final as (
    select
        exchange,
        symbol,
        timeframe,
        -- The last candles before it once more: exchanges revise their newest ones.
        case when reason in ('new', 'earlier') then from_at else from_at - {overlap} * period end as since,
        case when reason in ('new', 'later') then null else until_at + period end as until,
        reason,
        instrument_id,
        from_at,
        until_at
    from (
        select exchange, symbol, timeframe, period, reason, instrument_id, from_at, until_at from never_asked
        union all
        select exchange, symbol, timeframe, period, reason, instrument_id, from_at, until_at from outage
    ) as stretch
)

select * from final
order by exchange, reason <> 'later', timeframe, symbol, from_at
