{%- set enabled = enabled_features() %}
{%- set fixed = [
    'instrument_id', 'exchange', 'market_type', 'symbol', 'timeframe', 'opened_at', 'closed_at', 'close', 'gap_before',
    'bars_per_year', 'series_position', 'bars_since_outage'
] %}
{%- set computed = enabled | map(attribute='name') | list %}
{%- for family in feature_families(enabled) %}
    {%- do computed.extend(['is_warm_' ~ family, 'has_outage_' ~ family]) %}
{%- endfor %}
{#- A unit test has no contract: there, what is computed. #}
{%- set types = {} %}
{%- for column in model.columns.values() if column.name not in fixed %}
    {%- do types.update({column.name: column.data_type}) %}
{%- endfor %}

-- Of the table itself: a view on fct_features would keep a disabled indicator's columns from leaving it.
with features_by_year as (
    {{ features_by_year() | indent(4) }}
),

features as (
    {{ all_features(enabled) | indent(4) }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
)

-- The columns of the contract: one whose indicator is disabled is null, one that was added is in fct_features.
select
    features.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    features.timeframe,
    features.opened_at,
    features.closed_at,
    features.close,
    features.gap_before,
    features.bars_per_year,
    features.series_position,
    features.bars_since_outage
    {%- for name in types or computed -%}
        ,
        {{ 'features.' ~ name if name in computed else 'null::' ~ types[name] ~ ' as ' ~ name }}
    {%- endfor %}
from features
inner join instrument on features.instrument_id = instrument.instrument_id
