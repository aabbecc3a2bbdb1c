-- One row of features for every bar of a timeframe that has features, and none without one.
{{ config(description='Reconciles features.bar_features with bars.fct_bars: the same keys on both sides.') }}

select
    bars.instrument_id,
    bars.timeframe,
    bars.closed_at
from {{ ref('fct_bars') }} as bars
full join {{ ref('bar_features') }} as bar_features
    on
        bars.instrument_id = bar_features.instrument_id
        and bars.timeframe = bar_features.timeframe
        and bars.closed_at = bar_features.closed_at
where
    bars.close is distinct from bar_features.close
    and coalesce(bars.timeframe, bar_features.timeframe) in (
        select timeframe.timeframe from {{ ref('dim_timeframe') }} as timeframe
        where timeframe.compute_features
    )
    -- Features of candles that are kept no longer stay.
    and not exists (
        select from ops.horizon as horizon
        where horizon.instrument_id = bar_features.instrument_id and horizon.horizon_at >= bar_features.closed_at
    )
