{#-
  The bars of `bar` that are finished: those whose source was asked about the time past their end, whatever the clock says. A
  bar whose beginning was never observed is a row only where its timeframe allows that.
-#}
{% macro finished_bars(bar) %}
select
    bar.instrument_id,
    bar.timeframe,
    bar.opened_at,
    bar.closed_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.quote_volume,
    bar.trade_count,
    bar.price_factor,
    bar.bar_count,
    greatest(
        ceil(extract(epoch from bar.closed_at - bar.opened_at) / base.duration_seconds)::integer - bar.bar_count, 0
    ) as missing_count,
    not observed.observed @> bar.opened_at as is_partial
from {{ bar }} as bar
inner join {{ ref('dim_timeframe') }} as timeframe on bar.timeframe = timeframe.timeframe
inner join {{ ref('dim_instrument') }} as instrument on bar.instrument_id = instrument.instrument_id
inner join {{ ref('dim_timeframe') }} as base on instrument.base_timeframe = base.timeframe
inner join {{ ref('observed') }} as observed
    on
        bar.instrument_id = observed.instrument_id
        and instrument.base_timeframe = observed.timeframe
where
    bar.closed_at <= observed.observed_until
    and (timeframe.allow_partial_start or observed.observed @> bar.opened_at)
{% endmacro %}
