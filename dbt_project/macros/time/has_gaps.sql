{#- Whether gaps of a timeframe are judged. To-date bars overlap, and others are looked at where somebody computes returns over them. -#}
{% macro has_gaps(timeframe) -%}
({{ timeframe }}.compute_features or {{ timeframe }}.is_intraday or {{ timeframe }}.timeframe = '1D') and not {{ timeframe }}.is_anchored
{%- endmacro %}
