{#- Closes units whose stop, target or liquidation lies within the bar. -#}
{% macro watch_levels() -%}
    if is_traded and held <> 0 and has_levels then
      if held = -1 then
        liquidation := {{ liquidation_price() }};
      end if;
      if (held = 1 and (low <= nearest_stop or high >= nearest_target))
        or (held = -1 and (high >= least(nearest_stop, liquidation) or low <= nearest_target)) then
        known_at := null;
        at_unit := 1;
        while at_unit <= cardinality(units) loop
          unit := units[at_unit];
          {#- A gap fills at the open; within the bar a stop comes before a target, since nobody knows which was first. #}
          reason := null;
          if held = 1 then
            if open <= unit.stop_price then
              reason := 'stop'; leaves_at := open;
            elsif open >= unit.target_price then
              reason := 'target'; leaves_at := open;
            elsif low <= unit.stop_price then
              reason := 'stop'; leaves_at := unit.stop_price;
            elsif high >= unit.target_price then
              reason := 'target'; leaves_at := unit.target_price;
            end if;
          elsif open >= least(unit.stop_price, liquidation) then
            reason := case when unit.stop_price <= liquidation then 'stop' else 'liquidation' end; leaves_at := open;
          elsif open <= unit.target_price then
            reason := 'target'; leaves_at := open;
          elsif high >= least(unit.stop_price, liquidation) then
            reason := case when unit.stop_price <= liquidation then 'stop' else 'liquidation' end;
            leaves_at := least(unit.stop_price, liquidation);
          elsif low <= unit.target_price then
            reason := 'target'; leaves_at := unit.target_price;
          end if;
          if reason is null then
            at_unit := at_unit + 1;
          else
            {{- close_unit('at_unit', 'leaves_at', 'reason', 'case when leaves_at = open then opened_at else closed_at end') | indent(12) }}
          end if;
        end loop;
        {{- levels() | indent(8) }}
      end if;
      if rules.trailing_stop is not null and held <> 0 then
        best := case held when 1 then high else low end;
        {{- follow_best() | indent(8) }}
        {{- levels() | indent(8) }}
      end if;
    end if;
{%- endmacro %}


{#- The direction that is held and the levels of its units that the next bar may touch first. -#}
{% macro levels() %}
if cardinality(units) = 0 then
  held := 0;
else
  held := units[1].direction;
  nearest_stop := null;
  nearest_target := null;
  for nth in 1..cardinality(units) loop
    nearest_stop := held * greatest(held * nearest_stop, held * units[nth].stop_price);
    nearest_target := held * least(held * nearest_target, held * units[nth].target_price);
  end loop;
end if;
{%- endmacro %}


{#- Trailing stops follow the best price since the entry, that of the bar just over included. -#}
{% macro follow_best() %}
for nth in 1..cardinality(units) loop
  unit := units[nth];
  unit.best_price := unit.direction * greatest(unit.direction * unit.best_price, unit.direction * best);
  unit.stop_price := unit.direction * greatest(
    unit.direction * unit.stop_price, unit.direction * unit.best_price * (1 - unit.direction * rules.trailing_stop)
  );
  units[nth] := unit;
end loop;
{%- endmacro %}


{#- The price at which buying back what is short takes all that the account has: with slippage, fees, and borrowing until the bar is over. -#}
{% macro liquidation_price() -%}
(realistic_cash - {{ borrow_until('borrow_per_day', 'settled_at', 'closed_at') }})
  / (-realistic_holding * (1 + rules.slippage) * (1 + rules.fee))
{%- endmacro %}
