{#-
  Creates the continuous aggregates that are missing, replaces those whose definition or source changed, and refreshes the others over
  exactly the ranges of candles that the feed names. Returns the last change that they account for.
-#}
{% macro refresh_aggregates(consumer) %}
  {% set schema = ref('candle').schema %}
  {% set candle = schema ~ '.' ~ ref('candle').identifier %}
  {% do outside_transaction('commit') %}
  {% set pending = aggregate_ranges(consumer, candle) %}
  {% set batching = run_query(
    "select exists (select from pg_proc where proname = 'refresh_continuous_aggregate' and 'options' = any (proargnames))"
  ).rows[0][0] %}
  {% do outside_transaction('commit') %}
  {% for timeframe, seconds in aggregate_timeframes().items() %}
    {% set name = aggregate_name(timeframe) %}
    {% set definition_hash = local_md5(aggregate_sql(name, seconds)) %}
    {% set standing = run_query(aggregate_state(schema, name, definition_hash)).rows[0] %}
    {% do outside_transaction('commit') %}
    {% if standing['is_current'] %}
      {% for range in pending.ranges %}
        {% do outside_transaction(refresh_sql(schema ~ '.' ~ name, seconds, range[0], range[1], batching)) %}
      {% endfor %}
    {% else %}
      {% do log(schema ~ '.' ~ name ~ ': creating the continuous aggregate', info=true) %}
      {% set aside = name ~ '__new' %}
      {% do outside_transaction('drop materialized view if exists ' ~ schema ~ '.' ~ aside) %}
      {% do outside_transaction(aggregate_sql(aside, seconds)) %}
      {% do outside_transaction('create index on ' ~ schema ~ '.' ~ aside ~ ' (instrument_id, closed_at)') %}
      {% do outside_transaction(refresh_sql(schema ~ '.' ~ aside, seconds, pending.horizon_at, none, batching)) %}
      {% do outside_transaction(
        "select ops.swap_aggregate('" ~ schema ~ "', '" ~ name ~ "', '" ~ aside ~ "', '" ~ definition_hash ~ "', '" ~ consumer ~ "')"
      ) %}
    {% endif %}
  {% endfor %}
  {{ return(pending.upto) }}
{% endmacro %}


{#- A statement of its own. The driver believes itself in a transaction; the text `commit` ended it, so this one stands alone. -#}
{% macro outside_transaction(sql) %}
  {% call statement('outside', auto_begin=false) %}{{ sql }}{% endcall %}
{% endmacro %}


{#-
  What the feed says of the candles since the consumer last read it: {upto, horizon_at, ranges}; a bound that is none is open. No range
  begins before the horizon of dropped candles: the bars there are frozen, and stand in the table.
-#}
{% macro aggregate_ranges(consumer, candle) %}
  {% set found = run_query("
    with bound as (
      select
        coalesce(max(seq), 0) as upto,
        " ~ aggregate_horizon() ~ " + interval '1 microsecond' as horizon_at
      from ops.change
    ),
    pending as (
      select range_agg(tstzrange(first_at, last_at, '[]')) as spans
      from ops.change as change
      inner join ops.progress as progress on progress.parent = change.node and progress.seq < change.seq
      where change.node = '" ~ candle ~ "' and progress.consumer = '" ~ consumer ~ "'
    )
    select
      bound.upto,
      bound.horizon_at::text as horizon_at,
      nullif(greatest(lower(span), bound.horizon_at), '-infinity')::text as first_at,
      nullif(upper(span), 'infinity')::text as last_at,
      span is null or upper(span) <= bound.horizon_at as is_nothing
    from bound cross join pending left join lateral unnest(pending.spans) as span on true
  ") %}
  {% set ranges = [] %}
  {% for row in found.rows if not row['is_nothing'] %}
    {% do ranges.append([row['first_at'], row['last_at']]) %}
  {% endfor %}
  {% set horizon_at = found.rows[0]['horizon_at'] %}
  {{ return({
    'upto': found.rows[0]['upto'],
    'horizon_at': horizon_at,
    'ranges': [[horizon_at, none]] if should_full_refresh() else ranges
  }) }}
{% endmacro %}


{#-
  SQL: until when bars of the aggregates are frozen; null where nothing is. It is the latest horizon of the instruments that trade around the
  clock: the aggregates hold no others, and the loader refuses their candles up to the same one.
-#}
{% macro aggregate_horizon() -%}
(
    select max(horizon.horizon_at)
    from ops.horizon as horizon
    inner join raw.instrument as instrument on horizon.instrument_id = instrument.instrument_id
    inner join config.session as session on instrument.session_id = session.session_id
    where session.is_24_7
)
{%- endmacro %}


{#- Whether the aggregate stands as it is defined, over the candles that are now called so. -#}
{% macro aggregate_state(schema, name, definition_hash) %}
select exists (
  select
  from timescaledb_information.continuous_aggregates as aggregate
  inner join ops.definition as definition on definition.node = aggregate.view_schema || '.' || aggregate.view_name
  where
    aggregate.view_schema = '{{ schema }}'
    and aggregate.view_name = '{{ name }}'
    and aggregate.hypertable_schema = '{{ ref("candle").schema }}'
    and aggregate.hypertable_name = '{{ ref("candle").identifier }}'
    and definition.definition_hash = '{{ definition_hash }}'
) as is_current
{% endmacro %}


{#- Over the whole buckets that hold the candles which close in [first_at, last_at]. -#}
{% macro refresh_sql(aggregate, seconds, first_at, last_at, batching) %}
call refresh_continuous_aggregate(
  '{{ aggregate }}',
  {% if first_at is none %}null{% else %}{{ aggregate_bucket(seconds, "timestamptz '" ~ first_at ~ "'") }}{% endif %},
  {% if last_at is none %}null{% else %}
  {{ aggregate_bucket(seconds, "timestamptz '" ~ last_at ~ "'") }} + interval '{{ seconds }} seconds'
  {% endif %}
  {#- By default every ten buckets are a transaction of their own: thirteen times slower over a month of five minutes. #}
  {% if batching %}, options => '{"buckets_per_batch": 0}'{% endif %}
)
{% endmacro %}
