{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at', 'signal'], frozen='base', hypertable='90 days',
    indexes=[['closed_at']], pre_hook='{{ create_equity_walk() }}'
) }}

with {{ traded_series() }}

select
    series.instrument_id,
    series.timeframe,
    {%- for column in equity_columns() %}
        valued.{{ column }},
    {%- endfor %}
    series.signal
from {{ feed_series('series') }}
cross join lateral {{ equity_walk_name() }}(series.signal, series.instrument_id, series.timeframe, series.first_at) as valued
