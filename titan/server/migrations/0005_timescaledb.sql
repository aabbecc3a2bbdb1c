-- On a server with TimescaleDB the candles are a hypertable. Both editions have these; a plain PostgreSQL skips them.
do $$
begin
    if exists (select from pg_available_extensions where name = 'timescaledb') then
        create extension if not exists timescaledb;
        -- Ninety days: a load of recent candles touches one chunk, and ten years of them are forty.
        perform create_hypertable(
            'raw.ohlcv', by_range('closed_at', interval '90 days'), create_default_indexes => false, migrate_data => true
        );
    end if;
end $$;
