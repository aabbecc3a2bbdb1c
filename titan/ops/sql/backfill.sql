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
    -- By its name of today, or else by the last one that it had.
    left join lateral (
        select name.instrument_id
        from raw.instrument_name as name
        where
            wanted.exchange = name.exchange
            and wanted.symbol = name.symbol
            and (wanted.symbol like '%%:%%') = (name.market_type <> 'spot')
        order by name.until_at desc nulls first
        limit 1
    ) as instrument on true
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

stretch as (
    select exchange, symbol, timeframe, period, reason, instrument_id, from_at, until_at from never_asked
    union all
    select exchange, symbol, timeframe, period, reason, instrument_id, from_at, until_at from outage
),

-- Under each name the time in which it was its own.
named as (
    select
        stretch.exchange,
        stretch.symbol,
        stretch.timeframe,
        stretch.period,
        stretch.reason,
        stretch.instrument_id,
        greatest(stretch.from_at, name.from_at) as named_from,
        least(stretch.until_at, name.until_at) as named_until,
        stretch.from_at,
        stretch.until_at,
        coalesce(name.symbol, stretch.symbol) as name,
        name.until_at < stretch.until_at as ends_by_rename,
        name.from_at > stretch.from_at as begins_by_rename
    from stretch
    left join raw.instrument_name as name on stretch.instrument_id = name.instrument_id
    where
        name.instrument_id is null
        or (
            (name.from_at is null or name.from_at < stretch.until_at)
            and (name.until_at is null or name.until_at > stretch.from_at)
        )
),

final as (
    select
        exchange,
        symbol,
        timeframe,
        -- The last candles before it once more: exchanges revise their newest ones. Of a new name the first candle may have
        -- opened before the rename.
        case
            when begins_by_rename then named_from - period
            when reason in ('new', 'earlier') then from_at
            else from_at - {overlap} * period
        end as since,
        case
            when ends_by_rename then named_until
            when reason in ('new', 'later') then null
            else until_at + period
        end as until,
        reason,
        instrument_id,
        case when reason = 'outage' then from_at else named_from end as from_at,
        case when reason = 'outage' then until_at else named_until end as until_at,
        name
    from named
)

select * from final
order by exchange, reason <> 'later', timeframe, symbol, from_at
