{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at', 'signal'], frozen='base', hypertable='90 days',
    indexes=[['closed_at']], pre_hook='{{ create_equity_loop() }}'
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
cross join lateral {{ equity_loop_name() }}(series.signal, series.instrument_id, series.timeframe, series.first_at) as valued
