{% macro lab_events(work, grid, readable) %}
create unlogged table {{ work }}event as
{{ signal_events(grid, work ~ 'feature as fed', readable) }}

select
    event.instrument_id,
    event.timeframe,
    event.closed_at,
    event.closed_at as known_at,
    event.signal,
    event.direction,
    event.action,
    event.fraction
from event
inner join {{ work }}range as ranged
    on
        event.instrument_id = ranged.instrument_id
        and event.timeframe = ranged.timeframe
        and event.closed_at between ranged.since and ranged.until;
create index on {{ work }}event (instrument_id, timeframe, signal, closed_at);
analyze {{ work }}event
{% endmacro %}


{#- One row per trial and instrument, in parts that other processes may take. -#}
{% macro lab_series(work, shard) %}
    select
        series.instrument_id,
        signal.timeframe,
        signal.signal
    from {{ work }}series as series
    inner join {{ work }}signal as signal on series.timeframe = signal.timeframe
    where mod(signal.signal::integer, {{ loop_shards() }}) = {{ shard }}
{% endmacro %}


{% macro lab_fills(work, spec) %}
create unlogged table {{ work }}fill as
{%- for shard in range(loop_shards()) %}
select series.instrument_id, series.timeframe, series.signal, filled.*
from ({{ lab_series(work, shard) }}) as series
cross join lateral {{ work }}fills(series.signal, series.instrument_id, series.timeframe, '-infinity') as filled
{{ 'union all' if not loop.last }}
{%- endfor %};
create index on {{ work }}fill (instrument_id, timeframe, signal, closed_at);
{%- if spec.ends == 'purged' %}
{#- Of what is not over at the end nothing counts: the account stops before the oldest unit that is still open was entered. #}
delete from {{ work }}fill as purged
using (
    select distinct on (fill.instrument_id, fill.timeframe, fill.signal)
        fill.instrument_id, fill.timeframe, fill.signal, fill.units[1].trade_number as oldest
    from {{ work }}fill as fill
    order by fill.instrument_id, fill.timeframe, fill.signal, fill.closed_at desc, fill.fill_number desc
) as still_open
inner join {{ work }}fill as entry
    on
        still_open.instrument_id = entry.instrument_id
        and still_open.timeframe = entry.timeframe
        and still_open.signal = entry.signal
        and still_open.oldest = entry.trade_number
        and entry.action = 'entry'
where
    purged.instrument_id = entry.instrument_id
    and purged.timeframe = entry.timeframe
    and purged.signal = entry.signal
    and purged.fill_number >= entry.fill_number;
{%- endif %}
analyze {{ work }}fill
{% endmacro %}
