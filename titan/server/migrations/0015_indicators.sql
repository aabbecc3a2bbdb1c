-- The columns of features.bar_features: one row, one indicator. What a kernel takes and makes of it is told by
-- features.dim_indicator and features.dim_feature; the build checks it and names the row that is wrong.
create table config.indicator (
    indicator text primary key check (indicator ~ '^[a-z][a-z0-9_]*$'),
    kernel text not null,
    params jsonb not null default '{}' check (jsonb_typeof(params) = 'object'),
    is_enabled boolean not null default true
);
comment on table config.indicator is
'One row per indicator: insert into config.indicator values (''rsi_9'', ''rsi'', ''{"period": 9}'') and build. '
'A change makes bar_features anew.';
comment on column config.indicator.indicator is 'A name for the row; its columns are named by the kernel and the params.';
comment on column config.indicator.kernel is 'The declaration that computes it: dbt_project/macros/features/indicators.';
comment on column config.indicator.params is 'What the kernel asks for, by name, as numbers.';

insert into config.indicator (indicator, kernel, params) values
('return_1', 'returns', '{"bars": 1}'),
('return_7', 'returns', '{"bars": 7}'),
('return_30', 'returns', '{"bars": 30}'),
('return_zscore', 'return_zscore', '{"bars": 252, "bars_24_7": 365, "deviations": 4}'),
('return_quartiles', 'return_quartiles', '{"bars": 252, "fence": 1.5}'),
('parkinson_30', 'parkinson', '{"bars": 30}'),
('garman_klass_30', 'garman_klass', '{"bars": 30}'),
('rogers_satchell_30', 'rogers_satchell', '{"bars": 30}'),
('realised_30', 'realised', '{"bars": 30}'),
('rsi_7', 'rsi', '{"period": 7}'),
('rsi_14', 'rsi', '{"period": 14}'),
('rsi_21', 'rsi', '{"period": 21}'),
('macd_12_26_9', 'macd', '{"fast": 12, "slow": 26, "signal": 9}'),
('macd_8_17_9', 'macd', '{"fast": 8, "slow": 17, "signal": 9}'),
('stochastic_14_3', 'stochastic', '{"period": 14, "smoothing": 3}'),
('bollinger_20_2', 'bollinger', '{"period": 20, "deviations": 2}'),
('atr_14', 'atr', '{"period": 14}'),
('adx_14', 'adx', '{"period": 14}'),
('donchian_20', 'donchian', '{"period": 20}'),
('sma_20', 'sma', '{"period": 20}'),
('sma_50', 'sma', '{"period": 50}'),
('sma_200', 'sma', '{"period": 200}'),
('ema_9', 'ema', '{"period": 9}'),
('ema_10', 'ema', '{"period": 10}'),
('ema_21', 'ema', '{"period": 21}'),
('ema_50', 'ema', '{"period": 50}'),
('ema_200', 'ema', '{"period": 200}');

create trigger publish after insert or update or delete or truncate on config.indicator
for each statement execute function config.publish_table();
