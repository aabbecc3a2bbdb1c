with live as (
    select distinct params_hash
    from {{ source('lab', 'strategy_status') }}
    where status = 'active'
)

select
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    fired.timeframe,
    fired.closed_at,
    fired.known_at,
    fired.signal,
    fired.type as signal_type,
    fired.direction,
    fired.action,
    fired.close,
    fired.fraction,
    fired.features,
    fired.feature_hash,
    fired.params_hash,
    fired.instrument_id,
    live.params_hash is not null as is_live
from {{ ref('fct_signals') }} as fired
inner join {{ ref('dim_instrument') }} as instrument on fired.instrument_id = instrument.instrument_id
left join live on fired.params_hash = live.params_hash
