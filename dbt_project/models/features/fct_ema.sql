{{ config(materialized='view') }}
{%- set features = enabled_features() %}

select
    bar_features.instrument_id,
    bar_features.timeframe,
    bar_features.opened_at,
    bar_features.closed_at,
    bar_features.close,
    mean.period,
    mean.ema,
    bar_features.series_position >= mean.warm_from as is_warm_ema,
    coalesce(bar_features.bars_since_outage < mean.warm_from - 1, false) as has_outage_ema
from {{ ref('bar_features') }} as bar_features
cross join
    lateral (
        values
        {%- for feature in features if feature.kernel == 'ema' %}
            ({{ feature.params.period }}, bar_features.{{ feature.name }}, {{ feature.window + feature.unstable }}),
        {%- endfor %}
        (null::integer, null::float8, null::integer)
    ) as mean (period, ema, warm_from)
where mean.period is not null
