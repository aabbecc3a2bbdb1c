-- The days on which a session is closed or keeps other hours: by rule, or listed one by one.

create table config.holiday_rule (
    session_id text not null references config.session,
    name text not null,
    first_year integer not null,
    last_year integer,
    month integer check (month between 1 and 12),
    day integer check (day between 1 and (array[31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[month]),
    weekday integer check (weekday between 1 and 7),
    nth integer check (nth = -1 or nth between 1 and 5),
    easter_offset integer check (easter_offset between -100 and 100),
    day_offset integer not null default 0 check (day_offset between -31 and 31),
    saturday_shift integer not null default 0 check (saturday_shift between -7 and 7),
    sunday_shift integer not null default 0 check (sunday_shift between -7 and 7),
    only_weekdays integer[] check (only_weekdays <> '{}' and only_weekdays <@ '{1, 2, 3, 4, 5, 6, 7}'),
    close_local time,
    primary key (session_id, name, first_year),
    check (last_year >= first_year),
    constraint holiday_rule_one_kind_of_date check (
        case
            when easter_offset is not null then num_nonnulls(month, day, weekday, nth) = 0
            when day is not null then month is not null and num_nonnulls(weekday, nth) = 0
            else num_nulls(month, weekday, nth) = 0
        end
    )
);
comment on table config.holiday_rule is
'One row per rule that gives a session at most one special day a year: closed all day, or an early close. The date '
'is found in one of three ways: month and day; month, weekday and nth; easter_offset. Then day_offset is added, '
'only_weekdays is asked, and a Saturday or Sunday is shifted. What still falls on a weekend is not observed.';
comment on column config.holiday_rule.first_year is
'The first year whose date follows the rule, also where the shift moves the day into the year before. For EQUITY '
'closures begin with 1970 and early closes with 1990, whether or not the custom is older.';
comment on column config.holiday_rule.last_year is 'The last year whose date follows the rule; null: it goes on.';
comment on column config.holiday_rule.day is 'With month: a fixed date. 29 February exists in leap years alone.';
comment on column config.holiday_rule.weekday is 'With month and nth: the nth weekday of the month. ISO, Monday is 1.';
comment on column config.holiday_rule.nth is '1 to 5 from the front (a year without a fifth is left out), -1 the last.';
comment on column config.holiday_rule.easter_offset is 'Days from (western) Easter Sunday: -2 is Good Friday.';
comment on column config.holiday_rule.day_offset is 'Days after the date found: 1 for the day after Thanksgiving.';
comment on column config.holiday_rule.saturday_shift is
'Days to move where it falls on a Saturday: -1 the Friday before, 2 the Monday after; 0: not observed.';
comment on column config.holiday_rule.sunday_shift is
'Days to move where it falls on a Sunday: 1 the Monday after; 0: not observed.';
comment on column config.holiday_rule.only_weekdays is
'The rule holds only where the date, with day_offset and before any shift, is one of these ISO weekdays; null: any.';
comment on column config.holiday_rule.close_local is 'Null: closed all day; else the local time of the early close.';

create table config.holiday (
    session_id text not null references config.session,
    date date not null,
    name text not null,
    open_local time,
    close_local time,
    primary key (session_id, date),
    check (open_local < close_local)
);
comment on table config.holiday is
'One row per special day of a session that follows no rule: unscheduled closures, late opens, early closes and '
'exceptions. It replaces whatever the rules say about its date; the session''s own hours in it make the date an '
'ordinary day.';
comment on column config.holiday.open_local is
'A late open; null: the session''s. With close_local null as well: closed all day.';
comment on column config.holiday.close_local is
'An early close; null: the session''s. With open_local null as well: closed all day.';

create function config.special_days(wanted_session text, from_year integer, until_year integer)
returns table (date date, name text, open_local time, close_local time) language sql stable as $$
    -- A year more on either side: a date of a neighbouring year can be shifted into the years wanted.
    -- Easter by the anonymous Gregorian computus: h places the full moon, l the Sunday after it, both from 22 March on.
    with calendar_year as materialized (
        select year, make_date(year, 3, 22) + h + l - 7 * ((a + 11 * h + 22 * l) / 451) as easter
        from
            generate_series(from_year - 1, until_year + 1) as year,
            lateral (select year % 19 as a, year / 100 as b, year % 100 as c) as cycle,
            lateral (select (19 * a + b - b / 4 - (b - (b + 8) / 25 + 1) / 3 + 15) % 30 as h) as moon,
            lateral (select (32 + 2 * (b % 4) + 2 * (c / 4) - h - c % 4) % 7 as l) as sunday
    ),
    found as (
        select
            rule.*,
            case
                when rule.easter_offset is not null then easter + rule.easter_offset
                when rule.day is not null then month_start + rule.day - 1
                when rule.nth > 0
                then month_start + (rule.weekday - start_weekday + 7) % 7 + 7 * (rule.nth - 1)
                else month_end - (end_weekday - rule.weekday + 7) % 7
            end as found_date
        from
            config.holiday_rule as rule
            join calendar_year on year between rule.first_year and coalesce(rule.last_year, year),
            lateral (select make_date(year, rule.month, 1) as month_start) as front,
            lateral (select (month_start + interval '1 month')::date - 1 as month_end) as back,
            lateral (
                select
                    extract(isodow from month_start)::integer as start_weekday,
                    extract(isodow from month_end)::integer as end_weekday
            ) as weekdays
        where rule.session_id = wanted_session
    ),
    special as (
        select
            case extract(isodow from unshifted)
                when 6 then unshifted + found.saturday_shift
                when 7 then unshifted + found.sunday_shift
                else unshifted
            end as date,
            found.name,
            null::time as open_local,
            found.close_local,
            false as is_listed
        from found, lateral (select found_date + found.day_offset as unshifted) as moved
        where
            -- A 29 February or a fifth Monday that does not exist has run over into the next month.
            (found.month is null or extract(month from found_date) = found.month)
            and (found.only_weekdays is null or extract(isodow from unshifted)::integer = any (found.only_weekdays))
        union all
        select listed.date, listed.name, listed.open_local, listed.close_local, true
        from config.holiday as listed
        where listed.session_id = wanted_session
    )
    select distinct on (special.date) special.date, special.name, special.open_local, special.close_local
    from special
    where extract(year from special.date) between from_year and until_year and extract(isodow from special.date) < 6
    order by special.date, special.is_listed desc, special.close_local nulls first, special.name
$$;
comment on function config.special_days is
'The weekdays of those years on which the session is closed (both times null) or keeps other hours (a null time is '
'the session''s own). A listed date wins over the rules, a closure by rule over an early close, an earlier close over '
'a later one.';

-- The New York Stock Exchange. Full-day closures from 1970 on, late opens and early closes from 1990 on.

insert into config.holiday_rule
(session_id, name, first_year, last_year, month, day, saturday_shift, sunday_shift)
values
('EQUITY', 'New Year''s Day', 1970, null, 1, 1, 0, 1),
('EQUITY', 'Washington''s Birthday', 1970, 1970, 2, 22, -1, 1),
('EQUITY', 'Juneteenth', 2022, null, 6, 19, -1, 1),
('EQUITY', 'Independence Day', 1970, null, 7, 4, -1, 1),
('EQUITY', 'Christmas Day', 1970, null, 12, 25, -1, 1);

-- Memorial Day of 1970 was 30 May, a Saturday, and was not observed.
insert into config.holiday_rule
(session_id, name, first_year, last_year, month, weekday, nth)
values
('EQUITY', 'Martin Luther King Jr. Day', 1998, null, 1, 1, 3),
('EQUITY', 'Washington''s Birthday', 1971, null, 2, 1, 3),
('EQUITY', 'Memorial Day', 1971, null, 5, 1, -1),
('EQUITY', 'Labor Day', 1970, null, 9, 1, 1),
('EQUITY', 'Thanksgiving Day', 1970, null, 11, 4, 4);

insert into config.holiday_rule
(session_id, name, first_year, easter_offset)
values
('EQUITY', 'Good Friday', 1970, -2);

-- A 3 July or 24 December that is a Friday is closed: the holiday after it falls on a Saturday.
insert into config.holiday_rule
(session_id, name, first_year, last_year, month, day, only_weekdays, close_local)
values
('EQUITY', 'Day before Independence Day', 1995, 2012, 7, 3, '{1, 2, 4}', '13:00'),
('EQUITY', 'Day before Independence Day', 2013, null, 7, 3, '{1, 2, 3, 4}', '13:00'),
('EQUITY', 'Day after Independence Day', 1995, 2012, 7, 5, '{5}', '13:00'),
('EQUITY', 'Christmas Eve', 1990, 1992, 12, 24, '{1, 2, 3, 4}', '14:00'),
('EQUITY', 'Christmas Eve', 1993, null, 12, 24, '{1, 2, 3, 4}', '13:00');

insert into config.holiday_rule
(session_id, name, first_year, last_year, month, weekday, nth, day_offset, close_local)
values
('EQUITY', 'Day after Thanksgiving', 1992, 1992, 11, 4, 4, 1, '14:00'),
('EQUITY', 'Day after Thanksgiving', 1993, null, 11, 4, 4, 1, '13:00');

insert into config.holiday (session_id, date, name) values
('EQUITY', '1972-11-07', 'Presidential election'),
('EQUITY', '1972-12-28', 'Mourning for Harry S. Truman'),
('EQUITY', '1973-01-25', 'Mourning for Lyndon B. Johnson'),
('EQUITY', '1976-11-02', 'Presidential election'),
('EQUITY', '1977-07-14', 'Blackout in New York City'),
('EQUITY', '1980-11-04', 'Presidential election'),
('EQUITY', '1985-09-27', 'Hurricane Gloria'),
('EQUITY', '1994-04-27', 'Mourning for Richard Nixon'),
('EQUITY', '2001-09-11', 'Attack on the World Trade Center'),
('EQUITY', '2001-09-12', 'Attack on the World Trade Center'),
('EQUITY', '2001-09-13', 'Attack on the World Trade Center'),
('EQUITY', '2001-09-14', 'Attack on the World Trade Center'),
('EQUITY', '2004-06-11', 'Mourning for Ronald Reagan'),
('EQUITY', '2007-01-02', 'Mourning for Gerald Ford'),
('EQUITY', '2012-10-29', 'Hurricane Sandy'),
('EQUITY', '2012-10-30', 'Hurricane Sandy'),
('EQUITY', '2018-12-05', 'Mourning for George H. W. Bush'),
('EQUITY', '2025-01-09', 'Mourning for Jimmy Carter');

insert into config.holiday (session_id, date, name, open_local, close_local) values
('EQUITY', '1990-12-27', 'Transformer fire', '11:00', null),
('EQUITY', '1991-01-17', 'Silence for the troops in the Gulf', '09:31', null),
('EQUITY', '1991-02-25', 'Silence for the troops in the Gulf', '09:31', null),
('EQUITY', '1994-02-11', 'Snowstorm', null, '14:30'),
('EQUITY', '1995-12-18', 'Computer failure', '10:30', null),
('EQUITY', '1996-01-08', 'Snowstorm', '11:00', '14:00'),
('EQUITY', '1997-10-27', 'Circuit breaker', null, '15:30'),
('EQUITY', '1997-12-26', 'Day after Christmas', null, '13:00'),
('EQUITY', '1999-12-31', 'Turn of the millennium', null, '13:00'),
('EQUITY', '2001-09-17', 'Silence for the victims of 11 September', '09:33', null),
('EQUITY', '2001-10-08', 'Silence for the troops in Afghanistan', '09:31', null),
('EQUITY', '2002-09-11', 'Anniversary of 11 September', '12:00', null),
('EQUITY', '2003-03-20', 'Silence for the troops in Iraq', '09:32', null),
('EQUITY', '2003-12-26', 'Day after Christmas', null, '13:00'),
('EQUITY', '2004-06-07', 'Silence for Ronald Reagan', '09:32', null),
('EQUITY', '2005-06-01', 'Communication failure', null, '15:56'),
('EQUITY', '2006-12-27', 'Silence for Gerald Ford', '09:32', null);
