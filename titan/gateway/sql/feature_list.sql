-- What each feature is.
select
    feature.feature,
    feature.indicator,
    feature.family,
    feature.unit,
    feature.formula,
    feature.window_bars,
    feature.unstable_bars,
    feature.null_policy,
    feature.source
from features.dim_feature as feature
order by feature.feature_number
