-- The timeframes: a name says everything, the rest follows from it by rule, and a row that contradicts itself is refused.
alter table config.timeframe
    drop constraint timeframe_base_unit_check,
    drop constraint timeframe_quantity_check,
    add column label text,
    add column alignment text,
    add column calendar_scheme text,
    add column is_anchored boolean,
    add column allow_partial_start boolean,
    add column allow_partial_end boolean,
    add column tf_days integer,
    add column tf_days_min integer,
    add column tf_days_max integer,
    add column is_canonical boolean,
    add column compute_features boolean,
    add column sort_order integer;

comment on table config.timeframe is
'One row per timeframe. insert into config.timeframe (timeframe) values (''45m''), (''90D''), (''5W_ISO''), (''18MO''), (''8MO_TD'') '
'is enough: the other columns follow from the name, and what is given beside it has to agree with it.';
comment on column config.timeframe.base_unit is
'MIN, H; D trading days, CD calendar days, W weeks, MO months, Y years.';
comment on column config.timeframe.alignment is
'intraday: counted from the session''s open, around the clock from 1970-01-01 00:00 UTC; trading: counted in trading days of '
'the session; calendar: counted in days, weeks or months of the calendar.';
comment on column config.timeframe.calendar_scheme is 'Where a week begins: US on Sunday, ISO on Monday; none for everything else.';
comment on column config.timeframe.is_anchored is 'To date: one row per included close, from the start of the period.';
comment on column config.timeframe.allow_partial_start is
'Whether a period whose beginning was never observed has a row (flagged is_partial). May be changed.';
comment on column config.timeframe.allow_partial_end is
'Whether rows end before their period does; true for to-date timeframes alone.';
comment on column config.timeframe.tf_days is 'Nominal length in days of its alignment; null for less than a day.';
comment on column config.timeframe.is_canonical is 'Whether it is one of those most people use; for sorting and filters only.';
comment on column config.timeframe.compute_features is 'Whether features are computed over its bars. May be changed.';

-- The shortest and the longest span of so many months, counted from 1970-01, over the 400 years of the Gregorian calendar.
create function config.month_span_days(months integer, out shortest integer, out longest integer) language sql immutable as $$
    select
        min((start + make_interval(months => months))::date - start::date),
        max((start + make_interval(months => months))::date - start::date)
    from generate_series(timestamp '1970-01-01', timestamp '2369-12-01', make_interval(months => months)) as start
$$;

create function config.complete_timeframe() returns trigger language plpgsql as $$
declare
    part text[] := regexp_match(new.timeframe, '^([1-9][0-9]{0,4})(m|h|D|CD|W_US|W_ISO|MO|Y)(_TD)?$');
    wanted config.timeframe;
    other text;
    differing text;
    nouns constant jsonb := '{"MIN": "minute", "H": "hour", "D": "trading day", "CD": "calendar day", "W": "week",
        "MO": "month", "Y": "year"}';
begin
    select timeframe into other from config.timeframe
    where lower(timeframe) = lower(new.timeframe) and timeframe <> new.timeframe and (tg_op = 'INSERT' or timeframe <> old.timeframe);
    if found then
        raise exception 'config.timeframe: % differs from % by case only', new.timeframe, other
        using hint = 'Use the one that is there. A month is 1MO, a minute 1m.';
    end if;
    if part is null or (part[3] is not null and part[2] !~ '^(W_US|W_ISO|MO|Y)$') then
        raise exception 'config.timeframe: % is not the name of a timeframe', quote_nullable(new.timeframe)
        using hint = 'A name is a quantity from 1 on and a unit: m, h, D (trading days), CD (calendar days), W_US or W_ISO '
            '(weeks), MO, Y; weeks, months and years with _TD for to date. For example 45m, 90D, 5W_ISO, 8MO_TD.';
    end if;

    wanted.timeframe := new.timeframe;
    wanted.quantity := part[1]::integer;
    wanted.base_unit := case
        when part[2] = 'm' then 'MIN' when part[2] = 'h' then 'H' when part[2] like 'W%' then 'W' else part[2] end;
    wanted.calendar_scheme := case part[2] when 'W_US' then 'US' when 'W_ISO' then 'ISO' else 'none' end;
    wanted.is_anchored := part[3] is not null;
    wanted.allow_partial_end := wanted.is_anchored;
    wanted.alignment := case when wanted.base_unit in ('MIN', 'H') then 'intraday'
        when wanted.base_unit = 'D' then 'trading' else 'calendar' end;
    if wanted.base_unit = 'MIN' and wanted.quantity >= 1440 or wanted.base_unit = 'H' and wanted.quantity >= 24 then
        raise exception 'config.timeframe: % is not shorter than a day', new.timeframe
        using hint = 'Bars of a day or longer count in days: 1D, 2D, 7CD.';
    end if;
    if wanted.base_unit in ('MO', 'Y') then
        select span.shortest, span.longest into wanted.tf_days_min, wanted.tf_days_max
        from config.month_span_days(wanted.quantity * case wanted.base_unit when 'Y' then 12 else 1 end) as span;
        -- A Julian year: 365.25 days.
        wanted.tf_days := round(wanted.quantity * case wanted.base_unit when 'Y' then 365.25 else 30.4375 end);
    elsif wanted.alignment <> 'intraday' then
        wanted.tf_days := wanted.quantity * case wanted.base_unit when 'W' then 7 else 1 end;
        wanted.tf_days_min := wanted.tf_days;
        wanted.tf_days_max := wanted.tf_days;
    end if;
    wanted.tf_days_min := case when wanted.is_anchored then 1 else wanted.tf_days_min end;
    wanted.label := format(
        '%s%s%s%s%s',
        case when wanted.is_anchored and wanted.quantity = 1 then '' else wanted.quantity || ' ' end,
        nouns ->> wanted.base_unit,
        case when wanted.quantity > 1 then 's' else '' end,
        case when wanted.is_anchored then ' to date' else '' end,
        case wanted.calendar_scheme when 'US' then ', Sunday start' when 'ISO' then ', Monday start' else '' end
    );
    wanted.sort_order := case wanted.base_unit
        when 'MIN' then wanted.quantity
        when 'H' then 60 * wanted.quantity  -- minutes again
        when 'D' then 1000 + wanted.quantity
        when 'CD' then 2000 + wanted.quantity
        when 'W' then 3000 + 10 * wanted.quantity + (wanted.calendar_scheme = 'ISO')::integer
        when 'MO' then 4000 + wanted.quantity
        else 5000 + wanted.quantity
    end + case when wanted.is_anchored then 3000 else 0 end;

    if new.tf_days_min > new.tf_days_max then
        raise exception 'config.timeframe: % has tf_days_min % above tf_days_max %', new.timeframe, new.tf_days_min, new.tf_days_max
        using hint = 'Leave both out: they follow from the name.';
    end if;
    select string_agg(format('%s is %s, not %s', given.key, coalesce(rule.value, 'null'), given.value), '; ' order by given.key)
    into differing
    from jsonb_each_text(to_jsonb(new) - array['is_intraday', 'allow_partial_start', 'is_canonical', 'compute_features']) as given
    inner join jsonb_each_text(to_jsonb(wanted)) as rule on given.key = rule.key
    where given.value is distinct from rule.value and given.value is not null;
    if differing is not null then
        raise exception 'config.timeframe: % contradicts its name: %', new.timeframe, differing
        using hint = 'Leave those columns out, or give it the name that it describes.';
    end if;

    wanted.allow_partial_start := coalesce(new.allow_partial_start, wanted.is_anchored);
    wanted.is_canonical := coalesce(new.is_canonical, false);
    wanted.compute_features := coalesce(new.compute_features, wanted.alignment = 'intraday');
    new := wanted;
    return new;
end $$;

create trigger complete before insert or update on config.timeframe
for each row execute function config.complete_timeframe();
create unique index timeframe_name on config.timeframe (lower(timeframe));

update config.timeframe set is_canonical = true, compute_features = base_unit in ('MIN', 'H') or timeframe in ('1D', '1W_ISO', '1MO');

insert into config.timeframe (timeframe, is_canonical)
select
    definition.name,
    definition.name = any (
        '{2D,3D,5D,10D,20D,21D,42D,63D,126D,252D,7CD,14CD,28CD,91CD,182CD,364CD,365CD,1W_US,2W_US,2W_ISO,4W_US,4W_ISO,3MO,6MO,1Y,'
        '1W_US_TD,1W_ISO_TD,1MO_TD,3MO_TD,1Y_TD}'::text[]
    )
from (
    -- Trading days: every span to 60, then by five, and three, six and twelve months of 21 days each.
    select quantity || 'D' as name
    from generate_series(2, 252) as quantity
    where quantity <= 60 or (quantity >= 70 and quantity % 5 = 0 and quantity <> 125) or quantity in (63, 126, 252)
    union all
    select quantity || 'CD' from generate_series(7, 364, 7) as quantity
    union all
    select '365CD'
    union all
    select quantity || 'W_' || scheme
    from unnest(array[1, 2, 3, 4, 6, 8, 10, 12, 13, 26]) as quantity
    cross join unnest(array['US', 'ISO']) as scheme
    union all
    select quantity || 'MO' from generate_series(1, 11) as quantity
    union all
    select '1Y'
    union all
    select quantity || 'W_' || scheme || '_TD'
    from generate_series(1, 4) as quantity
    cross join unnest(array['US', 'ISO']) as scheme
    union all
    select quantity || 'MO_TD' from unnest(array[1, 2, 3, 4, 6, 9]) as quantity
    union all
    select '1Y_TD'
) as definition
where definition.name not in (select timeframe from config.timeframe)
order by definition.name;

alter table config.timeframe
    alter column label set not null,
    alter column alignment set not null,
    alter column calendar_scheme set not null,
    alter column is_anchored set not null,
    alter column allow_partial_start set not null,
    alter column allow_partial_end set not null,
    alter column is_canonical set not null,
    alter column compute_features set not null,
    alter column sort_order set not null;
