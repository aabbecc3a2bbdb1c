{%- set windows = [30, 90, 365] %}
with instrument as (
    select * from {{ ref('dim_instrument') }}
),

features as not materialized (
    select * from {{ ref('features') }}
),

series as (
    {{ newest_bars(windows | max) | indent(4) }}
),

-- Numbered from the last one back. Made once: without statistics it would be made again for each row that it is joined to.
recent as materialized (
    select
        series.instrument_id,
        series.timeframe,
        newest.closed_at,
        newest.log_return,
        newest.age
    from series
    cross join
        lateral (
            select
                features.closed_at,
                features.log_return,
                row_number() over (order by features.closed_at desc) as age
            from features
            where
                features.instrument_id = series.instrument_id
                and features.timeframe = series.timeframe
                and features.closed_at >= series.first_closed_at
                and features.closed_at <= series.closed_at
        ) as newest
),

-- Of bars that closed at the same instant: returns over other hours are no pair.
pair as not materialized (
    select
        a.timeframe,
        a.closed_at,
        greatest(a.age, b.age) as age,
        a.instrument_id as instrument_id_a,
        b.instrument_id as instrument_id_b,
        a.log_return as return_a,
        b.log_return as return_b
    from recent as a
    inner join recent as b on a.timeframe = b.timeframe and a.closed_at = b.closed_at
    where a.log_return is not null and b.log_return is not null
),

-- In order, since sums of doubles depend on it.
correlated as not materialized (
    select
        timeframe,
        instrument_id_a,
        instrument_id_b,
        max(closed_at) as last_closed_at
        {%- for bars in windows %}
            {%- set within = 'filter (where age <= ' ~ bars ~ ')' if not loop.last %}
            ,
            corr(return_a, return_b order by closed_at) {{ within }} as correlation_{{ bars }},
            min(return_a) {{ within }} < max(return_a) {{ within }}
            and min(return_b) {{ within }} < max(return_b) {{ within }} as is_moving_{{ bars }},
            count(*) {{ within }} as pairs_{{ bars }}
        {%- endfor %}
    from pair
    group by
        timeframe,
        instrument_id_a,
        instrument_id_b
)

-- Returns that are all equal go with nothing: what is left of them in a variance is rounding.
select
    correlated.timeframe,
    correlated.instrument_id_a,
    correlated.instrument_id_b,
    a.exchange as exchange_a,
    b.exchange as exchange_b,
    a.market_type as market_type_a,
    b.market_type as market_type_b,
    a.symbol as symbol_a,
    b.symbol as symbol_b,
    correlated.last_closed_at
    {%- for bars in windows %}
        ,
        case
            when correlated.is_moving_{{ bars }} and correlated.pairs_{{ bars }} >= {{ bars // 2 }}
                then correlated.correlation_{{ bars }}
        end as correlation_{{ bars }},
        correlated.pairs_{{ bars }}
    {%- endfor %}
from correlated
inner join instrument as a on correlated.instrument_id_a = a.instrument_id
inner join instrument as b on correlated.instrument_id_b = b.instrument_id
