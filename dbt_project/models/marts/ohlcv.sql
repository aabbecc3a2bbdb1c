with bars as (
    select * from {{ ref('fct_bars') }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
)

select
    instrument.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    bars.timeframe,
    bars.opened_at,
    bars.closed_at,
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume,
    bars.quote_volume,
    bars.trade_count,
    bars.price_factor,
    bars.bar_count,
    bars.missing_count,
    bars.has_gap,
    bars.is_partial
{%- if engine() == 'community' %}

-- One instrument at a time. A join would read all of an aggregate, since its rows are judged behind conditions of their own;
-- a value from outside reaches its index. The `with` keeps the planner from making a join of it again.
from instrument
cross join
    lateral (
        with of_instrument as (
            select * from bars
            where bars.instrument_id = instrument.instrument_id
        )

        select * from of_instrument
    ) as bars
{%- else %}

    from bars
    inner join instrument on bars.instrument_id = instrument.instrument_id
{%- endif %}
