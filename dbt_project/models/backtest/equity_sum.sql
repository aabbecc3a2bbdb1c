{{ config(memory='bucket', bucket='span', key=['instrument_id', 'timeframe', 'closed_at', 'signal']) }}

with equity as (
    select * from {{ feed(ref('fct_strategy_equity')) }}
)

select
    instrument_id,
    timeframe,
    {{ span_of('closed_at') }} + {{ span_length() }} as closed_at,
    signal,
    min(closed_at) as first_closed_at,
    max(closed_at) as last_closed_at,
    count(*) filter (where holding <> 0) as bars_held,
    {%- for account in accounts() %}
        {%- for name, sum in account_sums(account).items() %}
            {{ sum }} as {{ name }},
        {%- endfor %}
    {%- endfor %}
    count(*) as bars
from equity
group by instrument_id, timeframe, signal, {{ span_of('closed_at') }}
