-- A trading day lies on its own local date and has the number after that of the one before, so no span is a day short.
{{ config(description='Numbers and dates of bars.dim_calendar, session by session.') }}

with numbered as (
    select
        calendar.session_id,
        calendar.date,
        calendar.is_trading_day,
        calendar.trading_day_number,
        (calendar.opened_at at time zone trading_session.timezone)::date as opened_date,
        coalesce(
            lag(calendar.trading_day_number + calendar.is_trading_day::integer) over in_order, 0
        ) as expected_number,
        coalesce(lag(calendar.date) over in_order + 1, calendar.date) as expected_date
    from {{ ref('dim_calendar') }} as calendar
    inner join {{ ref('dim_session') }} as trading_session on calendar.session_id = trading_session.session_id
    window in_order as (partition by calendar.session_id order by calendar.date)
)

select *
from numbered
where
    trading_day_number <> expected_number
    or date <> expected_date
    or (is_trading_day and opened_date is distinct from date)
