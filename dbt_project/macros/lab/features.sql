{#- Bars in the range, each with the one before it; `series` has the instruments and timeframes that have any. -#}
{% macro lab_bars(work) %}
create unlogged table {{ work }}bar as
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
    lag(bar.close) over series as previous_close,
    lag(bar.closed_at) over series as previous_closed_at
from {{ work }}range as ranged
inner join {{ ref('fct_bars') }} as bar
    on
        ranged.instrument_id = bar.instrument_id
        and ranged.timeframe = bar.timeframe
        and bar.closed_at > ranged.since
        and bar.opened_at >= ranged.since
        and bar.closed_at <= ranged.until
window series as (partition by bar.instrument_id, bar.timeframe order by bar.closed_at);
alter table {{ work }}bar add primary key (instrument_id, timeframe, closed_at);
create index on {{ work }}bar (instrument_id, timeframe, closed_at) where close = 0;
analyze {{ work }}bar;
create unlogged table {{ work }}series as
select
    spanned.*,
    last_bar.close as last_close,
    of_series.bars_per_year
from (
    select
        bar.instrument_id,
        bar.timeframe,
        count(*) as bars,
        min(bar.closed_at) as first_closed_at,
        max(bar.closed_at) as last_closed_at
    from {{ work }}bar as bar
    group by bar.instrument_id, bar.timeframe
) as spanned
inner join {{ work }}bar as last_bar
    on
        spanned.instrument_id = last_bar.instrument_id
        and spanned.timeframe = last_bar.timeframe
        and spanned.last_closed_at = last_bar.closed_at
inner join {{ ref('bars_per_year') }} as of_series
    on spanned.instrument_id = of_series.instrument_id and spanned.timeframe = of_series.timeframe;
analyze {{ work }}series;
create unlogged table {{ work }}instant as
select
    bar.closed_at,
    count(*) as instruments
from {{ work }}bar as bar
where bar.timeframe in (select signal.timeframe from {{ work }}signal as signal)
group by bar.closed_at;
analyze {{ work }}instant
{% endmacro %}


{#- From the first bar of the history on, as the stored ones: the same bits. -#}
{% macro lab_features(work, program) %}
create unlogged table {{ work }}feature as
{%- for shard in range(loop_shards()) %}
select
    series.instrument_id,
    series.timeframe,
    walked.closed_at,
    walked.close
    {%- for feature in program.features if feature.is_stored %},
    {{ feature.sql }} as {{ feature.name }}
    {%- endfor %}
from {{ work }}series as series
cross join lateral {{ work }}walk(series.instrument_id, series.timeframe, '-infinity') as walked
where
    mod(series.instrument_id, {{ loop_shards() }}) = {{ shard }}
    and series.timeframe in (select signal.timeframe from {{ work }}signal as signal)
{{ 'union all' if not loop.last }}
{%- endfor %};
analyze {{ work }}feature
{% endmacro %}


{#- Says by hashes what the run reads. -#}
{% macro lab_data(work, spec, program) %}
insert into lab.data (
    run_id, instrument_id, exchange, market_type, symbol, timeframe, first_closed_at, last_closed_at, bars, data_hash, feature_hash
)
select
    {{ spec.run }}, series.instrument_id, instrument.exchange, instrument.market_type, instrument.symbol, series.timeframe,
    series.first_closed_at, series.last_closed_at, series.bars,
    lab.hash_of_bars(series.instrument_id, series.timeframe, series.last_closed_at),
    lab.hash_of_rows(
        '{{ work }}feature',
        array['close'{% for feature in program.features if feature.is_stored %}, '{{ feature.name }}'{% endfor %}],
        series.instrument_id, series.timeframe, series.last_closed_at
    )
from {{ work }}series as series
inner join {{ ref('dim_instrument') }} as instrument on series.instrument_id = instrument.instrument_id
{% endmacro %}
