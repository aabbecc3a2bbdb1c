{%- set enabled = enabled_features() %}
-- Of the table itself: a view on fct_features would keep a disabled indicator's columns from leaving it.
with features_by_year as (
    {{ features_by_year() | indent(4) }}
),

features as not materialized (
    {{ all_features(enabled) | indent(4) }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
),

latest as (
    {{ newest_bars() | indent(4) }}
),

-- Each feature's last value and those of the year before it.
year_before as (
    select
        latest.*,
        feature.feature,
        feature.last_value,
        feature.year_values,
        feature.value_count,
        feature.mean,
        case when feature.deviation > feature.noise then feature.deviation else 0 end as deviation,
        feature.noise,
        feature.quartiles[1]::numeric as q25,
        feature.quartiles[2]::numeric as q75
    from latest
    cross join
        lateral (
            select
                observation.feature,
                max(observation.value) filter (where features.closed_at = latest.closed_at) as last_value,
                array_agg(observation.value) filter (where features.closed_at < latest.closed_at) as year_values,
                count(*) filter (where features.closed_at < latest.closed_at) as value_count,
                avg(observation.value::numeric) filter (where features.closed_at < latest.closed_at) as mean,
                stddev_samp(observation.value::numeric) filter (where features.closed_at < latest.closed_at) as deviation,
                1e-12 * max(abs(observation.value::numeric)) filter (where features.closed_at < latest.closed_at) as noise,
                percentile_cont(array[0.25, 0.75]) within group (order by observation.value)
                filter (where features.closed_at < latest.closed_at) as quartiles
            from features
            cross join
                lateral (
                    values
                    {%- for feature in enabled if feature.unit != 'flag' %}
                        ('{{ feature.name }}', features.{{ feature.name }}::double precision),
                    {%- endfor %}
                    (null::text, null::double precision)
                ) as observation (feature, value)
            where
                features.instrument_id = latest.instrument_id
                and features.timeframe = latest.timeframe
                and features.closed_at > latest.closed_at - interval '365 days'
                and features.closed_at <= latest.closed_at
                and observation.value is not null
            group by observation.feature
        ) as feature
    where feature.last_value is not null and feature.value_count >= 20
)

-- Decimals: squares of large numbers have room. What differs in the last digits alone differs by rounding.
select
    instrument_id,
    exchange,
    market_type,
    symbol,
    timeframe,
    feature,
    closed_at as last_closed_at,
    last_value,
    value_count,
    mean::double precision as mean,
    deviation::double precision as deviation,
    q25::double precision as q25,
    q75::double precision as q75,
    ((last_value::numeric - mean) / nullif(deviation, 0))::double precision as zscore,
    abs(last_value::numeric - mean) > 4 * nullif(deviation, 0) as is_outlier_zscore,
    case
        when q75 - q25 > noise then last_value::numeric not between q25 - 1.5 * (q75 - q25) and q75 + 1.5 * (q75 - q25)
    end as is_outlier_iqr,
    (
        select count(*) from unnest(year_values) as of_year (value)
        where abs(of_year.value::numeric - mean) > 4 * nullif(deviation, 0)
    ) as zscore_outlier_count,
    (
        select count(*) from unnest(year_values) as of_year (value)
        where q75 - q25 > noise and of_year.value::numeric not between q25 - 1.5 * (q75 - q25) and q75 + 1.5 * (q75 - q25)
    ) as iqr_outlier_count
from year_before
