{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at', 'signal', 'fill_number'], frozen='base', bucket='execution',
    pre_hook='{{ create_fill_loop() }}'
) }}

with {{ traded_series() }}

select
    series.instrument_id,
    series.timeframe,
    {%- for column in fill_columns() %}
        filled.{{ column }},
    {%- endfor %}
    series.signal
from {{ feed_series('series') }}
cross join lateral {{ fill_loop_name() }}(series.signal, series.instrument_id, series.timeframe, series.first_at) as filled
