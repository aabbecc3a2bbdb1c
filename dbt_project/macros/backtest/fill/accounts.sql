{#-
  What rounding leaves of an amount that is all spent, or all owed, is nothing: a part in 10^12 of it. A remainder of 1e-17 would be traded
  with, and divided by.
-#}
{% macro residue(amount) -%}
1e-12::float8 * {{ amount }}
{%- endmacro %}


{#- Makes of cash that is a residue of an amount nothing. -#}
{% macro without_residue(cash, amount) %}
if abs({{ cash }}) <= {{ residue(amount) }} then
  {{ cash }} := 0;
end if;
{%- endmacro %}


{#- Pays what shorts have cost until now. -#}
{% macro settle(moment) %}
filled_at := {{ moment }};
realistic_cash := realistic_cash - {{ borrow_until('borrow_per_day', 'settled_at', 'filled_at') }};
settled_at := filled_at;
{%- endmacro %}


{#- What shorts cost from one moment until another. -#}
{% macro borrow_until(per_day, since, until) -%}
coalesce({{ per_day }} * extract(epoch from {{ until }} - {{ since }})::float8 / 86400, 0)
{%- endmacro %}


{#- Whether the close leaves nothing of one of the accounts. -#}
{% macro is_used_up() -%}
(
  cash + holding * close <= {{ residue('cash') }}
  or realistic_cash + realistic_holding * close - {{ borrow_until('borrow_per_day', 'settled_at', 'closed_at') }} <= {{ residue('realistic_cash') }}
)
{%- endmacro %}


{#- A close that leaves nothing of the account, or less, ends it, whether somebody traded or not. A long falls so low at zero alone. -#}
{% macro end_what_is_used_up() %}
    if (held = -1 or held = 1 and close = 0) and {{ is_used_up() | indent(6) }} then
      known_at := null;
      while cardinality(units) > 0 loop
        {{- close_unit('1', 'close', "case held when 1 then 'worthless' else 'liquidation' end", 'closed_at') | indent(8) }}
      end loop;
      {{- levels() | indent(6) }}
    end if;
{%- endmacro %}
