-- The example of 0010 named a timeframe that is there already.
comment on table config.timeframe is
'One row per timeframe. insert into config.timeframe (timeframe) values (''45m''), (''300D''), (''5W_ISO''), (''8MO_TD'') '
'is enough: the other columns follow from the name, and what is given beside it has to agree with it.';
