{#-
  SQL: one row per instrument and timeframe with features, from when to when its newest bars closed, so many of them, as of now or of
  the moment that the session asks about. Index reads of the
  table itself, one series at a time: a view that joins is sorted whole before its last row is known. Asks for `instrument` above it.
-#}
{% macro newest_bars(bars=1) -%}
select
    instrument.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    timeframe.timeframe,
    newest.first_closed_at,
    newest.closed_at
from instrument
cross join {{ ref('dim_timeframe') }} as timeframe
cross join
    lateral (
        select
            min(newest_bar.closed_at) as first_closed_at,
            max(newest_bar.closed_at) as closed_at
        from (
            select bar_features.closed_at from {{ ref('bar_features') }} as bar_features
            where
                bar_features.instrument_id = instrument.instrument_id
                and bar_features.timeframe = timeframe.timeframe
                and bar_features.closed_at <= {{ as_of() }}
            order by bar_features.closed_at desc
            limit {{ bars }}
        ) as newest_bar
    ) as newest
where timeframe.compute_features and newest.closed_at is not null
{%- endmacro %}
