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

timeframe as (
    select * from {{ ref('dim_timeframe') }}
    where compute_features
)

-- One timeframe at a time, its newest bars made once and numbered from the last one back: without statistics they would be
-- made again for each row that they are joined to. Pairs closed at the same instant: returns over other hours are none. They
-- are summed in order, since sums of doubles depend on it. Returns that are equal to twelve digits go with nothing: what
-- is left of them in a variance is rounding.
select
    timeframe.timeframe,
    pair.instrument_id_a,
    pair.instrument_id_b,
    one.exchange as exchange_a,
    other.exchange as exchange_b,
    one.market_type as market_type_a,
    other.market_type as market_type_b,
    one.symbol as symbol_a,
    other.symbol as symbol_b,
    pair.last_closed_at
    {%- for bars in windows %}
        ,
        case
            when pair.is_moving_{{ bars }} and pair.pairs_{{ bars }} >= {{ bars // 2 }}
                then pair.correlation_{{ bars }}
        end as correlation_{{ bars }},
        pair.pairs_{{ bars }}
    {%- endfor %}
from timeframe
cross join
    lateral ( -- noqa: ST05
        with recent as materialized (
            select
                series.instrument_id,
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
            where series.timeframe = timeframe.timeframe
        )

        select
            a.instrument_id as instrument_id_a,
            b.instrument_id as instrument_id_b,
            max(a.closed_at) as last_closed_at
            {%- for bars in windows %}
                {%- set within = 'filter (where greatest(a.age, b.age) <= ' ~ bars ~ ')' if not loop.last %}
                ,
                corr(a.log_return, b.log_return order by a.closed_at) {{ within }} as correlation_{{ bars }},
                max(a.log_return) {{ within }} - min(a.log_return) {{ within }} > 1e-12 * max(abs(a.log_return)) {{ within }}
                and max(b.log_return) {{ within }} - min(b.log_return) {{ within }}
                > 1e-12 * max(abs(b.log_return)) {{ within }} as is_moving_{{ bars }},
                count(*) {{ within }} as pairs_{{ bars }}
            {%- endfor %}
        from recent as a
        inner join recent as b on a.closed_at = b.closed_at
        where a.log_return is not null and b.log_return is not null
        group by a.instrument_id, b.instrument_id
    ) as pair
inner join instrument as one on pair.instrument_id_a = one.instrument_id
inner join instrument as other on pair.instrument_id_b = other.instrument_id
