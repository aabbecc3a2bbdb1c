{{ config(memory='cross_section', key=['timeframe', 'closed_at', 'signal']) }}

with equity as (
    select * from {{ feed(ref('fct_strategy_equity')) }}
),

of_signal as (
    select
        timeframe,
        closed_at,
        signal,
        count(*) as instruments,
        {%- for account in accounts() %}
            avg({{ account }}_return order by instrument_id) as {{ account }}_return,
        {%- endfor %}
        avg(case when holding <> 0 then 1 else 0 end)::float8 as exposure
    from equity
    group by timeframe, closed_at, signal
),

of_all as (
    select
        timeframe,
        closed_at,
        '*' as signal,
        max(instruments) as instruments,
        {%- for account in accounts() %}
            avg({{ account }}_return order by signal) as {{ account }}_return,
        {%- endfor %}
        avg(exposure order by signal) as exposure
    from of_signal
    group by timeframe, closed_at
)

select * from of_signal
union all
select * from of_all
