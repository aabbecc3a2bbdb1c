-- What a run stood on, what its trials come to together, and how sure one can be of the best of them.

-- The inverse of backtest.normal_cdf: Abramowitz and Stegun 26.2.23 to begin with, then Newton's steps.
create function backtest.normal_quantile(probability double precision) returns double precision
language plpgsql immutable strict parallel safe as $quantile$
declare
    tail constant double precision := least(probability, 1 - probability);
    t constant double precision := sqrt(-2 * ln(tail));
    x double precision;
    step double precision;
begin
    x := (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t) - t;
    for attempt in 1..20 loop
        step := (backtest.normal_cdf(x) - tail) * sqrt(2 * pi()) / exp(-0.5 * x * x);
        x := x - step;
        exit when abs(step) <= 1e-14 * abs(x);
    end loop;
    return case when probability > 0.5 then -x else x end;
end $quantile$;
comment on function backtest.normal_quantile is 
'The value that a standard normal variable stays below with a probability, to 1e-9 if that is not within 1e-6 of 0 or 1.';

create function backtest.probabilistic_sharpe(
    sharpe double precision,
    threshold double precision,
    observations double precision,
    skewness double precision,
    kurtosis double precision
) returns double precision
language sql immutable parallel safe as $psr$
select backtest.normal_cdf(
    (sharpe - threshold) * sqrt(observations - 1)
    / nullif(sqrt(greatest(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe ^ 2, 0)), 0)
)
$psr$;
comment on function backtest.probabilistic_sharpe is
'The probability that the true Sharpe ratio is above the threshold, both per period (Bailey and López de Prado 2012); with the '
'expected maximum of the trials as the threshold it is the deflated Sharpe ratio (2014). Kurtosis is 3 for normal returns.';

create function backtest.expected_maximum_sharpe(deviation double precision, trials double precision) returns double precision
language sql immutable parallel safe as $maximum$
select case
    when trials is null or deviation is null then null
    when trials <= 1 then 0
    else greatest(0, deviation * (
        (1 - 0.57721566490153286) * backtest.normal_quantile(1 - 1 / trials)
        + 0.57721566490153286 * backtest.normal_quantile(1 - exp(-1::double precision) / trials)
    ))
end
$maximum$;
comment on function backtest.expected_maximum_sharpe is
'What the best Sharpe ratio of so many independent trials without skill is expected to be, given the standard deviation of the '
'ratios over the trials (Bailey and López de Prado 2014, equation 1).';

alter table lab.run
add column ends text not null default 'open' check (ends in ('open', 'purged', 'closed')),
add column code_hash text,
add column delistings jsonb not null default '[]',
add column effective_trials double precision,
add column mean_correlation double precision,
add column sharpe_deviation double precision,
add column expected_maximum_sharpe double precision;
comment on column lab.run.ends is
'Positions at the end of the range are open (marked to market), closed at the last traded close, or purged: as if the account had '
'stopped before the oldest of them was entered.';
comment on column lab.run.code_hash is 'SHA-256 of the SQL that computed the run; null in runs of before it was kept.';
comment on column lab.run.delistings is 'Delistings that were known, as in config.delisting.';
comment on column lab.run.effective_trials is 'As many independent trials the trials are worth: correlation + (1 - correlation) * trials.';
comment on column lab.run.mean_correlation is 'Between the returns of the trials'' portfolios, the mean over all pairs, 0 at least.';
comment on column lab.run.sharpe_deviation is 'Standard deviation, over the trials, of the Sharpe ratio per bar of their portfolios.';
comment on column lab.run.expected_maximum_sharpe is 'Per bar: what the best of so many trials without skill would show.';

-- By way of one hash for every 30 days: no value of a whole series has to fit in memory.
create function lab.hash_of_rows(
    relation regclass, columns text[], of_instrument integer, of_timeframe text, until_at timestamptz
) returns text
language plpgsql stable as $hash$
declare
    hash text;
    contents text;
begin
    select string_agg(format(' || coalesce(float8send(hashed.%I), ''null'')', name), '' order by place)
    into contents
    from unnest(columns) with ordinality as one (name, place);
    execute format(
        $query$
        select encode(sha256(string_agg(span.hash, ''::bytea order by span.begins_at)), 'hex')
        from (
            select
                date_bin(interval '30 days', hashed.closed_at, timestamptz 'epoch') as begins_at,
                sha256(string_agg(timestamptz_send(hashed.closed_at)%s, ''::bytea order by hashed.closed_at)) as hash
            from %s as hashed
            where hashed.instrument_id = $1 and hashed.timeframe = $2 and hashed.closed_at <= $3
            group by 1
        ) as span
        $query$,
        contents, relation
    ) into hash using of_instrument, of_timeframe, until_at;
    return hash;
end $hash$;
comment on function lab.hash_of_rows is
'SHA-256 over closed_at and these columns (double precision) of a series until a moment; null if it has no rows.';

create function lab.hash_of_bars(of_instrument integer, of_timeframe text, until_at timestamptz) returns text
language plpgsql stable as $hash$
begin
    return lab.hash_of_rows(
        'bars.fct_bars', array['open', 'high', 'low', 'close', 'volume'], of_instrument, of_timeframe, until_at
    );
end $hash$;
comment on function lab.hash_of_bars is
'SHA-256 over the bars of a series from the first of the history, which features begin with, to the last until a moment.';

create table lab.data (
    run_id bigint not null references lab.run deferrable initially deferred,
    instrument_id integer not null,
    exchange text not null,
    market_type text not null,
    symbol text not null,
    timeframe text not null,
    first_closed_at timestamptz not null,
    last_closed_at timestamptz not null,
    bars bigint not null,
    data_hash text not null,
    feature_hash text,
    primary key (run_id, instrument_id, timeframe)
);
comment on table lab.data is 'One row per run, instrument and timeframe: exactly what the run read.';
comment on column lab.data.bars is 'Bars in the range of the run.';
comment on column lab.data.data_hash is 'lab.hash_of_bars as of the last bar of the range.';
comment on column lab.data.feature_hash is 'SHA-256 over the features that the run computed of the same bars.';

create table lab.portfolio_metric (
    run_id bigint not null,
    trial integer not null,
    first_closed_at timestamptz not null,
    last_closed_at timestamptz not null,
    bars bigint not null,
    exposure double precision not null,
    total_return double precision,
    cagr double precision,
    volatility double precision,
    sharpe double precision,
    sortino double precision,
    calmar double precision,
    maximum_drawdown double precision,
    skewness double precision,
    kurtosis double precision,
    probabilistic_sharpe double precision,
    deflated_sharpe double precision,
    trades bigint not null,
    win_rate double precision,
    profit_factor double precision,
    primary key (run_id, trial),
    foreign key (run_id, trial) references lab.trial deferrable initially deferred
);
comment on table lab.portfolio_metric is
'One row per trial: its realistic accounts of all instruments in equal parts, as in backtest.portfolio_metric.';
comment on column lab.portfolio_metric.deflated_sharpe is
'The probability that its Sharpe ratio is above what the best of the effective trials would show without skill.';

create table lab.frozen (
    run_id bigint not null,
    trial integer not null,
    frozen_at timestamptz not null default now(),
    frozen_by text not null,
    note text not null,
    primary key (run_id, trial),
    foreign key (run_id, trial) references lab.trial
);
comment on table lab.frozen is 'One row per trial that somebody froze: what it stood on is kept beside its trades.';

create table lab.frozen_bar (
    run_id bigint not null,
    instrument_id integer not null,
    timeframe text not null,
    closed_at timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    primary key (run_id, instrument_id, timeframe, closed_at)
);
comment on table lab.frozen_bar is 'One row per bar that a run with a frozen trial read, as it was.';

create table lab.frozen_event (
    run_id bigint not null,
    trial integer not null,
    instrument_id integer not null,
    closed_at timestamptz not null,
    direction text not null,
    action text not null,
    fraction double precision,
    primary key (run_id, trial, instrument_id, closed_at, direction, action),
    foreign key (run_id, trial) references lab.frozen
);
comment on table lab.frozen_event is 'One row per event of a frozen trial, as it was.';

create view lab.tried as
select
    run.run_id,
    (sum(coalesce(newly.trials, 0)) over (partition by run.type, run.timeframe order by run.run_id))::bigint as trials_in_all
from lab.run as run
left join (
    select first_tried.run_id, count(*) as trials
    from (select min(trial.run_id) as run_id from lab.trial as trial group by trial.params_hash) as first_tried
    group by first_tried.run_id
) as newly on run.run_id = newly.run_id;
comment on view lab.tried is 'One row per run: how many different trials of its type and timeframe there had been by then, on whatever instruments.';

create view lab.leaderboard as
select
    trial.run_id,
    trial.trial,
    run.type,
    run.timeframe,
    run.direction,
    trial.params,
    trial.execution,
    trial.params_hash,
    frozen.run_id is not null as is_frozen,
    portfolio.rank = 1 as is_best_of_run,
    frozen.frozen_at,
    frozen.frozen_by,
    frozen.note,
    run.trials,
    run.effective_trials,
    tried.trials_in_all,
    portfolio.first_closed_at,
    portfolio.last_closed_at,
    portfolio.sharpe,
    portfolio.probabilistic_sharpe,
    portfolio.deflated_sharpe,
    portfolio.total_return,
    portfolio.maximum_drawdown,
    portfolio.trades,
    portfolio.win_rate,
    portfolio.profit_factor
from lab.trial as trial
inner join lab.run as run on trial.run_id = run.run_id
inner join lab.tried as tried on run.run_id = tried.run_id
inner join (
    select
        portfolio_metric.*,
        row_number() over (partition by run_id order by sharpe desc nulls last, trial) as rank
    from lab.portfolio_metric
) as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
left join lab.frozen as frozen on trial.run_id = frozen.run_id and trial.trial = frozen.trial;
comment on view lab.leaderboard is 'One row per trial with a portfolio: what it came to after costs, and whether it is frozen.';

do $$
declare
    relation text;
begin
    foreach relation in array array['data', 'portfolio_metric', 'frozen', 'frozen_bar', 'frozen_event'] loop
        execute format(
            'create trigger keep before update or delete or truncate on lab.%I for each statement '
            'execute function lab.refuse_change()', relation
        );
    end loop;
end $$;
