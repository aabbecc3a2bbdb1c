-- Two more indicators: a row each, beside the declarations of their kernels (docs/features.md, "Adding an indicator").
insert into config.indicator (indicator, kernel, params) values
('cci_20', 'cci', '{"period": 20}'),
('obv', 'obv', '{}')
on conflict do nothing;
