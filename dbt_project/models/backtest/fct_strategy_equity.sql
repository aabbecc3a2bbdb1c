{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at', 'signal'], frozen='base', hypertable='90 days',
    indexes=[['closed_at']], pre_hook='{{ create_equity_walk() }}'
) }}

with series as not materialized (
    select
        instrument.instrument_id,
        signal.timeframe,
        signal.signal
    from {{ ref('dim_instrument') }} as instrument
    cross join {{ ref('dim_signal') }} as signal
    where signal.is_enabled
)

select
    series.instrument_id,
    series.timeframe,
    {%- for column in equity_columns() %}
        valued.{{ column }},
    {%- endfor %}
    series.signal
from {{ feed_series('series') }}
cross join lateral {{ equity_walk_name() }}(series.signal, series.instrument_id, series.timeframe, series.first_at) as valued
