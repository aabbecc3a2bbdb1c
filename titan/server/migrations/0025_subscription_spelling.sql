-- A subscription names a series as raw names it, or the poll would not find what it has loaded of it.
create function config.spell_subscription() returns trigger language plpgsql as $$
declare
    delivered constant text[] := '{1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1D, 1W_ISO, 1MO}';
    ccxt constant jsonb := '{"1d": "1D", "1w": "1W_ISO", "1M": "1MO"}';
begin
    new.exchange := lower(new.exchange);
    new.timeframe := coalesce(ccxt ->> new.timeframe, new.timeframe);
    if new.timeframe <> all (delivered) then
        raise exception 'config.subscription: no exchange delivers candles of %', new.timeframe
        using hint = format('Write one of %s.', array_to_string(delivered, ', '));
    end if;
    return new;
end $$;

create trigger spell before insert or update on config.subscription
for each row execute function config.spell_subscription();

comment on column config.subscription.timeframe is 'As Titan writes it; ccxt''s 1d, 1w and 1M become 1D, 1W_ISO and 1MO.';
