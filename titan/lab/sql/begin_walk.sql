-- Records a walk-forward before its first fold, with the costs and delistings that all its folds are computed by.
insert into lab.walk (
    type, timeframe, direction, grid, execution, costs, delistings, instruments, since, until, scheme, folds, train_bars,
    test_bars, embargo_bars, metric, trials, code_hash, data_hash
)
select
    %(type)s,
    %(timeframe)s,
    %(direction)s,
    %(grid)s,
    %(execution)s,
    (
        select jsonb_agg(to_jsonb(cost) || %(costs)s::jsonb order by cost.exchange, cost.market_type)
        from config.cost as cost
    ),
    (
        select coalesce(jsonb_agg(to_jsonb(gone) order by gone.exchange, gone.market_type, gone.symbol), '[]')
        from ({known_delistings}) as gone
    ),
    %(instruments)s,
    %(since)s,
    %(until)s,
    %(scheme)s,
    %(folds)s,
    %(train)s,
    %(test)s,
    %(embargo)s,
    %(metric)s,
    %(trials)s,
    %(code_hash)s,
    %(data_hash)s
returning walk_id
