{{ config(memory='bucket', key=['instrument_id', 'timeframe', 'signal', 'account']) }}

with series as not materialized (
    select
        bars_per_year.instrument_id,
        bars_per_year.timeframe,
        bars_per_year.bars_per_year
    from {{ ref('bars_per_year') }} as bars_per_year
),

span as not materialized (
    select
        equity_sum.*,
        series.bars_per_year
    from {{ feed_series('series') }}
    inner join {{ ref('equity_sum') }} as equity_sum
        on series.instrument_id = equity_sum.instrument_id and series.timeframe = equity_sum.timeframe
),

in_columns as (
    select
        instrument_id,
        timeframe,
        signal,
        bars_per_year,
        min(first_closed_at) as first_closed_at,
        max(last_closed_at) as last_closed_at,
        sum(bars_held)::float8 / sum(bars)::float8 as exposure,
        {%- for account in accounts() %}
            {%- for name, sum in added_sums(account).items() %}
                {{ sum }} as {{ name }},
            {%- endfor %}
        {%- endfor %}
        sum(bars)::bigint as bars
    from span
    group by instrument_id, timeframe, signal, bars_per_year
),

{{ sums_by_account(['instrument_id', 'timeframe', 'signal'], accounts()) }},

{{ metrics_of_sums(['instrument_id', 'timeframe', 'signal']) }}

select * from metric
