{#-
  What a bar is of the candles or bars in it. A float sum depends on its order, and the order of a heap is that of loading: every
  stored sum has its own order.
-#}
{% macro bar_columns() -%}
    (array_agg(open order by closed_at))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by closed_at))[count(*)] as close,
    sum(volume order by closed_at) as volume,
    case when count(quote_volume) = count(*) then sum(quote_volume order by closed_at) end as quote_volume,
    case when count(trade_count) = count(*) then sum(trade_count)::bigint end as trade_count,
    (array_agg(price_factor order by closed_at))[count(*)] as price_factor,
    count(*)::integer as bar_count
{%- endmacro %}


{#- The same of the bars so far: over the window `so_far`, ordered by closed_at. -#}
{% macro bar_columns_so_far() -%}
    first_value(open) over so_far as open,
    max(high) over so_far as high,
    min(low) over so_far as low,
    close,
    sum(volume) over so_far as volume,
    case when count(quote_volume) over so_far = count(*) over so_far then sum(quote_volume) over so_far end as quote_volume,
    case
        when count(trade_count) over so_far = count(*) over so_far then (sum(trade_count) over so_far)::bigint
    end as trade_count,
    price_factor,
    (count(*) over so_far)::integer as bar_count
{%- endmacro %}
