-- Each horizon, and the instant from which its candles are needed: null where all of them are, for want of a checkpoint. A
-- bar that is open at the horizon is made again of all its candles; a gap after it begins at the last bar before it.
select
    horizon.instrument_id,
    horizon.timeframe,
    horizon.horizon_at,
    case
        when checkpoint.closed_at is not null or not timeframe.compute_features
            then least(horizon.horizon_at, checkpoint.closed_at, last_bar.closed_at, open_bar.opened_at)
    end as kept_from
from ops.horizon as horizon
inner join bars.dim_timeframe as timeframe on horizon.timeframe = timeframe.timeframe
inner join raw.instrument as instrument on horizon.instrument_id = instrument.instrument_id
inner join config.session as session on instrument.session_id = session.session_id
left join lateral (
    select features.closed_at from features.bar_features as features
    where
        features.instrument_id = horizon.instrument_id
        and features.timeframe = horizon.timeframe
        and features.closed_at < horizon.horizon_at
        and features.checkpoint is not null
    order by features.closed_at desc
    limit 1
) as checkpoint on timeframe.compute_features
left join lateral (
    select candle.closed_at from bars.candle as candle
    where
        candle.instrument_id = horizon.instrument_id
        and candle.timeframe = horizon.timeframe
        and candle.closed_at <= horizon.horizon_at
        and candle.is_in_session
    order by candle.closed_at desc
    limit 1
) as last_bar on true
left join lateral (
    select
        min(date_bin(make_interval(secs => dim_timeframe.duration_seconds), horizon.horizon_at, timestamptz 'epoch'))
            as opened_at
    from bars.dim_timeframe
    where dim_timeframe.is_intraday
) as open_bar on session.is_24_7
