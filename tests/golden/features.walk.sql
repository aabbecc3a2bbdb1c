-- features.walk(
--     series_instrument integer
--     series_timeframe text
--     first_at timestamp with time zone
-- ) returns TABLE(opened_at timestamp with time zone, closed_at timestamp with time zone, close double precision, gap_before text, n integer, bars_since_outage integer, checkpoint double precision[], adx_14 double precision, sum_plus_movement_14 double precision, sum_true_range_14 double precision, sum_minus_movement_14 double precision, wilder_true_range_14 double precision, mean_close_20 double precision, squares_close_20 double precision, offset_typical_price_20 double precision, deviation_typical_price_20 double precision, highest_20 double precision, lowest_20 double precision, ema_close_10 double precision, ema_close_200 double precision, ema_close_21 double precision, ema_close_50 double precision, ema_close_9 double precision, sma_garman_klass_term_30 double precision, ema_close_12_14 double precision, ema_close_26 double precision, signal_12_26_9 double precision, ema_close_8_9 double precision, ema_close_17 double precision, signal_8_17_9 double precision, obv double precision, sma_range_squared_30 double precision, squares_log_return_30 double precision, reference_close double precision, log_return double precision, close_30 double precision, close_7 double precision, quantile_log_return_252_25 double precision, quantile_log_return_252_75 double precision, return_zscore_252_365 double precision, sma_rogers_satchell_term_30 double precision, wilder_gain_14 double precision, wilder_loss_14 double precision, wilder_gain_21 double precision, wilder_loss_21 double precision, wilder_gain_7 double precision, wilder_loss_7 double precision, sma_close_200 double precision, sma_close_50 double precision, stochastic_14 double precision, sma_stochastic_14_3 double precision)
#variable_conflict use_column
declare
  signature constant float8 := 26893499278330;
  bar_size constant integer := 201;
  return_size constant integer := 366;
  range_size constant integer := 31;
  is_24_7 boolean;
  begins_at timestamptz;
  resumed_at timestamptz := '-infinity';
  resumed float8[];
  gaps refcursor;
  gap_at timestamptz;
  gap_kind text;
  is_refresh boolean;
  return_count integer := 0;
  range_count integer := 0;
  open float8;
  high float8;
  low float8;
  volume float8;
  previous_close float8;
  previous_high float8;
  previous_low float8;
  true_range float8;
  up_move float8;
  down_move float8;
  plus_movement float8;
  minus_movement float8;
  typical_price float8;
  range_return float8;
  range_squared float8;
  body_return float8;
  garman_klass_term float8;
  rogers_satchell_term float8;
  gain float8;
  loss float8;
  dx_14 float8;
  going_close_20 float8;
  at integer;
  place_20 integer;
  going_garman_klass_term_30 float8;
  going_range_squared_30 float8;
  going_log_return_30 float8;
  going_log_return_252 float8;
  near_log_return_252_25 float8[];
  low_log_return_252_25 float8;
  high_log_return_252_25 float8;
  below_log_return_252_25 integer;
  size_log_return_252_25 integer := 0;
  most_log_return_252_25 integer;
  is_moved boolean;
  sorted float8[];
  near_log_return_252_75 float8[];
  low_log_return_252_75 float8;
  high_log_return_252_75 float8;
  below_log_return_252_75 integer;
  size_log_return_252_75 integer := 0;
  most_log_return_252_75 integer;
  length_252_365 integer;
  going_log_return_length_252_365 float8;
  going_rogers_satchell_term_30 float8;
  going_close_200 float8;
  going_close_50 float8;
  place_14 integer;
  going_stochastic_14_3 float8;
  peak_close_20 float8 := null;
  begun_highest_20 float8 := null;
  begun_lowest_20 float8 := null;
  mean_log_return_30 float8 := null;
  peak_log_return_30 float8 := null;
  mean_log_return_length_252_365 float8 := null;
  squares_log_return_length_252_365 float8 := null;
  peak_log_return_length_252_365 float8 := null;
  highest_14 float8 := null;
  begun_highest_14 float8 := null;
  lowest_14 float8 := null;
  begun_lowest_14 float8 := null;
  close_ring float8[] := array_fill(null::float8, array[bar_size]);
  last_typical_price_20 float8[] := array_fill(null::float8, array[20]);
  high_ring float8[] := array_fill(null::float8, array[bar_size]);
  rest_highest_20 float8[] := array_fill(null::float8, array[20]);
  low_ring float8[] := array_fill(null::float8, array[bar_size]);
  rest_lowest_20 float8[] := array_fill(null::float8, array[20]);
  garman_klass_term_ring float8[] := array_fill(null::float8, array[range_size]);
  range_squared_ring float8[] := array_fill(null::float8, array[range_size]);
  log_return_ring float8[] := array_fill(null::float8, array[return_size]);
  rogers_satchell_term_ring float8[] := array_fill(null::float8, array[range_size]);
  rest_highest_14 float8[] := array_fill(null::float8, array[14]);
  rest_lowest_14 float8[] := array_fill(null::float8, array[14]);
  stochastic_14_ring float8[] := array_fill(null::float8, array[bar_size]);
begin
  n := 0;
  sum_true_range_14 := 0;
  sum_plus_movement_14 := 0;
  sum_minus_movement_14 := 0;
  adx_14 := 0;
  wilder_true_range_14 := 0;
  ema_close_10 := 0;
  ema_close_200 := 0;
  ema_close_21 := 0;
  ema_close_50 := 0;
  ema_close_9 := 0;
  ema_close_12_14 := 0;
  ema_close_26 := 0;
  signal_12_26_9 := 0;
  ema_close_8_9 := 0;
  ema_close_17 := 0;
  signal_8_17_9 := 0;
  obv := 0;
  wilder_gain_14 := 0;
  wilder_loss_14 := 0;
  wilder_gain_21 := 0;
  wilder_loss_21 := 0;
  wilder_gain_7 := 0;
  wilder_loss_7 := 0;

  select instrument.is_24_7 into is_24_7
  from "bars"."dim_instrument" as instrument
  where instrument.instrument_id = series_instrument;
  length_252_365 := case when is_24_7 then 365 else 252 end;

  begins_at := greatest(first_at, (
    select horizon.horizon_at from ops.horizon as horizon
    where horizon.instrument_id = series_instrument and horizon.timeframe = series_timeframe
  ));
  if begins_at > '-infinity' and to_regclass('features.bar_features') is not null then
    select row.closed_at, row.checkpoint into resumed_at, resumed
    from features.bar_features as row
    where
      row.instrument_id = series_instrument
      and row.timeframe = series_timeframe
      and row.closed_at < begins_at
      and row.checkpoint[1] = signature
    order by row.closed_at desc
    limit 1;
  end if;
  if resumed is null then
    resumed_at := '-infinity';
  else
    n := resumed[2];
    return_count := resumed[3];
    range_count := resumed[4];
    bars_since_outage := resumed[5];
    previous_close := resumed[6];
    previous_high := resumed[7];
    previous_low := resumed[8];
    reference_close := resumed[9];
    sum_true_range_14 := resumed[10];
    sum_plus_movement_14 := resumed[11];
    sum_minus_movement_14 := resumed[12];
    adx_14 := resumed[13];
    wilder_true_range_14 := resumed[14];
    mean_close_20 := resumed[15];
    squares_close_20 := resumed[16];
    peak_close_20 := resumed[17];
    highest_20 := resumed[18];
    begun_highest_20 := resumed[19];
    lowest_20 := resumed[20];
    begun_lowest_20 := resumed[21];
    ema_close_10 := resumed[22];
    ema_close_200 := resumed[23];
    ema_close_21 := resumed[24];
    ema_close_50 := resumed[25];
    ema_close_9 := resumed[26];
    sma_garman_klass_term_30 := resumed[27];
    ema_close_12_14 := resumed[28];
    ema_close_26 := resumed[29];
    signal_12_26_9 := resumed[30];
    ema_close_8_9 := resumed[31];
    ema_close_17 := resumed[32];
    signal_8_17_9 := resumed[33];
    obv := resumed[34];
    sma_range_squared_30 := resumed[35];
    mean_log_return_30 := resumed[36];
    squares_log_return_30 := resumed[37];
    peak_log_return_30 := resumed[38];
    quantile_log_return_252_25 := resumed[39];
    quantile_log_return_252_75 := resumed[40];
    mean_log_return_length_252_365 := resumed[41];
    squares_log_return_length_252_365 := resumed[42];
    peak_log_return_length_252_365 := resumed[43];
    sma_rogers_satchell_term_30 := resumed[44];
    wilder_gain_14 := resumed[45];
    wilder_loss_14 := resumed[46];
    wilder_gain_21 := resumed[47];
    wilder_loss_21 := resumed[48];
    wilder_gain_7 := resumed[49];
    wilder_loss_7 := resumed[50];
    sma_close_200 := resumed[51];
    sma_close_50 := resumed[52];
    highest_14 := resumed[53];
    begun_highest_14 := resumed[54];
    lowest_14 := resumed[55];
    begun_lowest_14 := resumed[56];
    sma_stochastic_14_3 := resumed[57];
    close_ring := resumed[1 + 56 + 1:1 + 56 + bar_size];
    last_typical_price_20 := resumed[1 + 56 + bar_size + 1:1 + 56 + bar_size + 20];
    high_ring := resumed[1 + 56 + bar_size + 20 + 1:1 + 56 + bar_size + 20 + bar_size];
    rest_highest_20 := resumed[1 + 56 + bar_size + 20 + bar_size + 1:1 + 56 + bar_size + 20 + bar_size + 20];
    low_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size];
    rest_lowest_20 := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20];
    garman_klass_term_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size];
    range_squared_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size];
    log_return_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size];
    rogers_satchell_term_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size];
    rest_highest_14 := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 14];
    rest_lowest_14 := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 14 + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 14 + 14];
    stochastic_14_ring := resumed[1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 14 + 14 + 1:1 + 56 + bar_size + 20 + bar_size + 20 + bar_size + 20 + range_size + range_size + return_size + range_size + 14 + 14 + bar_size];
  end if;

  open gaps for
  select gap.closed_at, gap.gap_kind
  from "bars"."gap" as gap
  where gap.instrument_id = series_instrument and gap.timeframe = series_timeframe and gap.closed_at > resumed_at
  order by gap.closed_at;
  fetch gaps into gap_at, gap_kind;

  for opened_at, closed_at, open, high, low, close, volume in
    select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume
    from "bars"."fct_bars" as bar
    where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and bar.closed_at > resumed_at
    order by bar.closed_at
  loop
    n := n + 1;
    bars_since_outage := bars_since_outage + 1;
    if gap_at <= closed_at then
      gap_before := gap_kind;
      if gap_kind in ('outage', 'not_fetched') then
        bars_since_outage := 0;
        reference_close := null;
      end if;
      fetch gaps into gap_at, gap_kind;
    end if;
    is_refresh := n % 2048 = 0;
    true_range := greatest(high, previous_close) - least(low, previous_close);
    up_move := high - previous_high;
    down_move := previous_low - low;
    plus_movement := case when up_move > 0 and up_move > down_move then up_move else 0 end;
    minus_movement := case when down_move > 0 and down_move > up_move then down_move else 0 end;
    typical_price := (high + low + close) / 3;
    range_return := case when low > 0 then ln(high / low) end;
    range_squared := range_return * range_return;
    body_return := case when low > 0 then ln(close / open) end;
    garman_klass_term := 0.5::float8 * range_squared - 0.3862943611198906::float8 * body_return * body_return;
    log_return := ln(nullif(close, 0) / reference_close);
    rogers_satchell_term := case when low > 0 then ln(high / close) * ln(high / open) + ln(low / close) * ln(low / open) end;
    gain := greatest(close - previous_close, 0);
    loss := greatest(previous_close - close, 0);
    close_ring[n % bar_size + 1] := close;
    high_ring[n % bar_size + 1] := high;
    low_ring[n % bar_size + 1] := low;
    if n >= 201 then
      sum_true_range_14 := sum_true_range_14 - sum_true_range_14 / 14 + true_range;
      sum_plus_movement_14 := sum_plus_movement_14 - sum_plus_movement_14 / 14 + plus_movement;
      sum_minus_movement_14 := sum_minus_movement_14 - sum_minus_movement_14 / 14 + minus_movement;
      dx_14 := case when sum_true_range_14 > 0 then 100 * abs(sum_plus_movement_14 - sum_minus_movement_14) / nullif(sum_plus_movement_14 + sum_minus_movement_14, 0) end;
      adx_14 := adx_14 + coalesce(dx_14 - adx_14, 0) / 14;
      wilder_true_range_14 := wilder_true_range_14 + (true_range - wilder_true_range_14) * (1::float8 / 14);
      last_typical_price_20[n % 20 + 1] := typical_price;
      place_20 := n % 20;
      if place_20 > 1 then
        begun_highest_20 := greatest(begun_highest_20, high);
        highest_20 := greatest(begun_highest_20, rest_highest_20[place_20 + 1]);
        begun_lowest_20 := least(begun_lowest_20, low);
        lowest_20 := least(begun_lowest_20, rest_lowest_20[place_20 + 1]);
      elsif place_20 = 1 then
        begun_highest_20 := high;
        highest_20 := greatest(high, rest_highest_20[2]);
        begun_lowest_20 := low;
        lowest_20 := least(low, rest_lowest_20[2]);
      else
        highest_20 := high;
        for at in reverse 20..1 loop
          highest_20 := greatest(highest_20, high_ring[(n - 20 + at) % bar_size + 1]);
          rest_highest_20[at] := highest_20;
        end loop;
        lowest_20 := low;
        for at in reverse 20..1 loop
          lowest_20 := least(lowest_20, low_ring[(n - 20 + at) % bar_size + 1]);
          rest_lowest_20[at] := lowest_20;
        end loop;
      end if;
      ema_close_10 := ema_close_10 + (close - ema_close_10) * (2::float8 / 11);
      ema_close_200 := ema_close_200 + (close - ema_close_200) * (2::float8 / 201);
      ema_close_21 := ema_close_21 + (close - ema_close_21) * (2::float8 / 22);
      ema_close_50 := ema_close_50 + (close - ema_close_50) * (2::float8 / 51);
      ema_close_9 := ema_close_9 + (close - ema_close_9) * (2::float8 / 10);
      ema_close_12_14 := ema_close_12_14 + (close - ema_close_12_14) * (2::float8 / 13);
      ema_close_26 := ema_close_26 + (close - ema_close_26) * (2::float8 / 27);
      signal_12_26_9 := signal_12_26_9 + ((ema_close_12_14 - ema_close_26) - signal_12_26_9) * (2::float8 / 10);
      ema_close_8_9 := ema_close_8_9 + (close - ema_close_8_9) * (2::float8 / 9);
      ema_close_17 := ema_close_17 + (close - ema_close_17) * (2::float8 / 18);
      signal_8_17_9 := signal_8_17_9 + ((ema_close_8_9 - ema_close_17) - signal_8_17_9) * (2::float8 / 10);
      obv := obv + case when close < previous_close then -volume when close > previous_close or n = 1 then volume else 0 end;
      close_30 := close_ring[(n - 30) % bar_size + 1];
      close_7 := close_ring[(n - 7) % bar_size + 1];
      wilder_gain_14 := wilder_gain_14 + (gain - wilder_gain_14) * (1::float8 / 14);
      wilder_loss_14 := wilder_loss_14 + (loss - wilder_loss_14) * (1::float8 / 14);
      wilder_gain_21 := wilder_gain_21 + (gain - wilder_gain_21) * (1::float8 / 21);
      wilder_loss_21 := wilder_loss_21 + (loss - wilder_loss_21) * (1::float8 / 21);
      wilder_gain_7 := wilder_gain_7 + (gain - wilder_gain_7) * (1::float8 / 7);
      wilder_loss_7 := wilder_loss_7 + (loss - wilder_loss_7) * (1::float8 / 7);
      place_14 := n % 14;
      if place_14 > 1 then
        begun_highest_14 := greatest(begun_highest_14, high);
        highest_14 := greatest(begun_highest_14, rest_highest_14[place_14 + 1]);
        begun_lowest_14 := least(begun_lowest_14, low);
        lowest_14 := least(begun_lowest_14, rest_lowest_14[place_14 + 1]);
      elsif place_14 = 1 then
        begun_highest_14 := high;
        highest_14 := greatest(high, rest_highest_14[2]);
        begun_lowest_14 := low;
        lowest_14 := least(low, rest_lowest_14[2]);
      else
        highest_14 := high;
        for at in reverse 14..1 loop
          highest_14 := greatest(highest_14, high_ring[(n - 14 + at) % bar_size + 1]);
          rest_highest_14[at] := highest_14;
        end loop;
        lowest_14 := low;
        for at in reverse 14..1 loop
          lowest_14 := least(lowest_14, low_ring[(n - 14 + at) % bar_size + 1]);
          rest_lowest_14[at] := lowest_14;
        end loop;
      end if;
      stochastic_14 := coalesce(100 * (close - lowest_14) / nullif(highest_14 - lowest_14, 0), 0);
      stochastic_14_ring[n % bar_size + 1] := stochastic_14;
    else
      sum_true_range_14 := case when n > 14 then sum_true_range_14 - sum_true_range_14 / 14 + true_range when n > 1 then sum_true_range_14 + true_range else 0 end;
      sum_plus_movement_14 := case when n > 14 then sum_plus_movement_14 - sum_plus_movement_14 / 14 + plus_movement when n > 1 then sum_plus_movement_14 + plus_movement else 0 end;
      sum_minus_movement_14 := case when n > 14 then sum_minus_movement_14 - sum_minus_movement_14 / 14 + minus_movement when n > 1 then sum_minus_movement_14 + minus_movement else 0 end;
      dx_14 := case when sum_true_range_14 > 0 then 100 * abs(sum_plus_movement_14 - sum_minus_movement_14) / nullif(sum_plus_movement_14 + sum_minus_movement_14, 0) end;
      adx_14 := case when n > 28 then adx_14 + coalesce(dx_14 - adx_14, 0) / 14 when n > 14 then adx_14 + (coalesce(dx_14, 0) - adx_14) / (n - 14) else 0 end;
      wilder_true_range_14 := wilder_true_range_14 + (true_range - wilder_true_range_14) * case when n > 15 then (1::float8 / 14) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      last_typical_price_20[n % 20 + 1] := typical_price;
      place_20 := n % 20;
      if place_20 > 1 then
        begun_highest_20 := greatest(begun_highest_20, high);
        highest_20 := greatest(begun_highest_20, rest_highest_20[place_20 + 1]);
        begun_lowest_20 := least(begun_lowest_20, low);
        lowest_20 := least(begun_lowest_20, rest_lowest_20[place_20 + 1]);
      elsif place_20 = 1 then
        begun_highest_20 := high;
        highest_20 := greatest(high, rest_highest_20[2]);
        begun_lowest_20 := low;
        lowest_20 := least(low, rest_lowest_20[2]);
      else
        highest_20 := high;
        for at in reverse 20..1 loop
          highest_20 := greatest(highest_20, high_ring[(n - 20 + at) % bar_size + 1]);
          rest_highest_20[at] := highest_20;
        end loop;
        lowest_20 := low;
        for at in reverse 20..1 loop
          lowest_20 := least(lowest_20, low_ring[(n - 20 + at) % bar_size + 1]);
          rest_lowest_20[at] := lowest_20;
        end loop;
      end if;
      ema_close_10 := ema_close_10 + (close - ema_close_10) * case when n > 10 then (2::float8 / 11) else 1::float8 / (n) end;
      ema_close_200 := ema_close_200 + (close - ema_close_200) * case when n > 200 then (2::float8 / 201) else 1::float8 / (n) end;
      ema_close_21 := ema_close_21 + (close - ema_close_21) * case when n > 21 then (2::float8 / 22) else 1::float8 / (n) end;
      ema_close_50 := ema_close_50 + (close - ema_close_50) * case when n > 50 then (2::float8 / 51) else 1::float8 / (n) end;
      ema_close_9 := ema_close_9 + (close - ema_close_9) * case when n > 9 then (2::float8 / 10) else 1::float8 / (n) end;
      ema_close_12_14 := ema_close_12_14 + (close - ema_close_12_14) * case when n > 26 then (2::float8 / 13) when n <= 14 then 0 else 1::float8 / (n - 14) end;
      ema_close_26 := ema_close_26 + (close - ema_close_26) * case when n > 26 then (2::float8 / 27) else 1::float8 / (n) end;
      signal_12_26_9 := signal_12_26_9 + ((ema_close_12_14 - ema_close_26) - signal_12_26_9) * case when n > 34 then (2::float8 / 10) when n <= 25 then 0 else 1::float8 / (n - 25) end;
      ema_close_8_9 := ema_close_8_9 + (close - ema_close_8_9) * case when n > 17 then (2::float8 / 9) when n <= 9 then 0 else 1::float8 / (n - 9) end;
      ema_close_17 := ema_close_17 + (close - ema_close_17) * case when n > 17 then (2::float8 / 18) else 1::float8 / (n) end;
      signal_8_17_9 := signal_8_17_9 + ((ema_close_8_9 - ema_close_17) - signal_8_17_9) * case when n > 25 then (2::float8 / 10) when n <= 16 then 0 else 1::float8 / (n - 16) end;
      obv := obv + case when close < previous_close then -volume when close > previous_close or n = 1 then volume else 0 end;
      close_30 := close_ring[(n - 30) % bar_size + 1];
      close_7 := close_ring[(n - 7) % bar_size + 1];
      wilder_gain_14 := wilder_gain_14 + (gain - wilder_gain_14) * case when n > 15 then (1::float8 / 14) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      wilder_loss_14 := wilder_loss_14 + (loss - wilder_loss_14) * case when n > 15 then (1::float8 / 14) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      wilder_gain_21 := wilder_gain_21 + (gain - wilder_gain_21) * case when n > 22 then (1::float8 / 21) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      wilder_loss_21 := wilder_loss_21 + (loss - wilder_loss_21) * case when n > 22 then (1::float8 / 21) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      wilder_gain_7 := wilder_gain_7 + (gain - wilder_gain_7) * case when n > 8 then (1::float8 / 7) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      wilder_loss_7 := wilder_loss_7 + (loss - wilder_loss_7) * case when n > 8 then (1::float8 / 7) when n <= 1 then 0 else 1::float8 / (n - 1) end;
      place_14 := n % 14;
      if place_14 > 1 then
        begun_highest_14 := greatest(begun_highest_14, high);
        highest_14 := greatest(begun_highest_14, rest_highest_14[place_14 + 1]);
        begun_lowest_14 := least(begun_lowest_14, low);
        lowest_14 := least(begun_lowest_14, rest_lowest_14[place_14 + 1]);
      elsif place_14 = 1 then
        begun_highest_14 := high;
        highest_14 := greatest(high, rest_highest_14[2]);
        begun_lowest_14 := low;
        lowest_14 := least(low, rest_lowest_14[2]);
      else
        highest_14 := high;
        for at in reverse 14..1 loop
          highest_14 := greatest(highest_14, high_ring[(n - 14 + at) % bar_size + 1]);
          rest_highest_14[at] := highest_14;
        end loop;
        lowest_14 := low;
        for at in reverse 14..1 loop
          lowest_14 := least(lowest_14, low_ring[(n - 14 + at) % bar_size + 1]);
          rest_lowest_14[at] := lowest_14;
        end loop;
      end if;
      stochastic_14 := coalesce(100 * (close - lowest_14) / nullif(highest_14 - lowest_14, 0), 0);
      stochastic_14_ring[n % bar_size + 1] := stochastic_14;
    end if;
    if n > 200 and not is_refresh then
      going_close_20 := close_ring[(n - 20) % bar_size + 1];
      squares_close_20 := squares_close_20
        + (close - going_close_20) * (close - mean_close_20 + going_close_20 - mean_close_20 - (close - going_close_20) / 20);
      mean_close_20 := mean_close_20 + (close - going_close_20) / 20;
      peak_close_20 := greatest(peak_close_20, squares_close_20);
      going_close_200 := close_ring[(n - 200) % bar_size + 1];
      sma_close_200 := sma_close_200 + (close - going_close_200) / 200;
      going_close_50 := close_ring[(n - 50) % bar_size + 1];
      sma_close_50 := sma_close_50 + (close - going_close_50) / 50;
      going_stochastic_14_3 := stochastic_14_ring[(n - 3) % bar_size + 1];
      sma_stochastic_14_3 := sma_stochastic_14_3 + (stochastic_14 - going_stochastic_14_3) / 3;
      if squares_close_20 < 1e-3::float8 * peak_close_20 or squares_close_20 <> 0 and sqrt(abs(squares_close_20)) < 1e-5::float8 * abs(mean_close_20) or abs(going_close_200) > 1e3::float8 * abs(sma_close_200) or abs(going_close_50) > 1e3::float8 * abs(sma_close_50) or abs(going_stochastic_14_3) > 1e3::float8 * abs(sma_stochastic_14_3) then
        mean_close_20 := 0;
        for at in n - 20 + 1..n loop
          mean_close_20 := mean_close_20 + (close_ring[at % bar_size + 1] - close);
        end loop;
        mean_close_20 := close + mean_close_20 / 20;
        squares_close_20 := 0;
        for at in n - 20 + 1..n loop
          squares_close_20 := squares_close_20 + (close_ring[at % bar_size + 1] - mean_close_20) ^ 2;
        end loop;
        peak_close_20 := squares_close_20;
        sma_close_200 := 0;
        for at in n - 200 + 1..n loop
          sma_close_200 := sma_close_200 + (close_ring[at % bar_size + 1] - close);
        end loop;
        sma_close_200 := close + sma_close_200 / 200;
        sma_close_50 := 0;
        for at in n - 50 + 1..n loop
          sma_close_50 := sma_close_50 + (close_ring[at % bar_size + 1] - close);
        end loop;
        sma_close_50 := close + sma_close_50 / 50;
        sma_stochastic_14_3 := 0;
        for at in n - 3 + 1..n loop
          sma_stochastic_14_3 := sma_stochastic_14_3 + (stochastic_14_ring[at % bar_size + 1] - stochastic_14);
        end loop;
        sma_stochastic_14_3 := stochastic_14 + sma_stochastic_14_3 / 3;
      end if;
    else
      if n > 20 and not is_refresh then
        going_close_20 := close_ring[(n - 20) % bar_size + 1];
      squares_close_20 := squares_close_20
        + (close - going_close_20) * (close - mean_close_20 + going_close_20 - mean_close_20 - (close - going_close_20) / 20);
      mean_close_20 := mean_close_20 + (close - going_close_20) / 20;
      peak_close_20 := greatest(peak_close_20, squares_close_20);
      end if;
      if n = 20 or n > 20 and (is_refresh or squares_close_20 < 1e-3::float8 * peak_close_20 or squares_close_20 <> 0 and sqrt(abs(squares_close_20)) < 1e-5::float8 * abs(mean_close_20)) then
        mean_close_20 := 0;
        for at in n - 20 + 1..n loop
          mean_close_20 := mean_close_20 + (close_ring[at % bar_size + 1] - close);
        end loop;
        mean_close_20 := close + mean_close_20 / 20;
        squares_close_20 := 0;
        for at in n - 20 + 1..n loop
          squares_close_20 := squares_close_20 + (close_ring[at % bar_size + 1] - mean_close_20) ^ 2;
        end loop;
        peak_close_20 := squares_close_20;
      end if;
      if n > 200 and not is_refresh then
        going_close_200 := close_ring[(n - 200) % bar_size + 1];
      sma_close_200 := sma_close_200 + (close - going_close_200) / 200;
      end if;
      if n = 200 or n > 200 and (is_refresh or abs(going_close_200) > 1e3::float8 * abs(sma_close_200)) then
        sma_close_200 := 0;
        for at in n - 200 + 1..n loop
          sma_close_200 := sma_close_200 + (close_ring[at % bar_size + 1] - close);
        end loop;
        sma_close_200 := close + sma_close_200 / 200;
      end if;
      if n > 50 and not is_refresh then
        going_close_50 := close_ring[(n - 50) % bar_size + 1];
      sma_close_50 := sma_close_50 + (close - going_close_50) / 50;
      end if;
      if n = 50 or n > 50 and (is_refresh or abs(going_close_50) > 1e3::float8 * abs(sma_close_50)) then
        sma_close_50 := 0;
        for at in n - 50 + 1..n loop
          sma_close_50 := sma_close_50 + (close_ring[at % bar_size + 1] - close);
        end loop;
        sma_close_50 := close + sma_close_50 / 50;
      end if;
      if n > 3 and not is_refresh then
        going_stochastic_14_3 := stochastic_14_ring[(n - 3) % bar_size + 1];
      sma_stochastic_14_3 := sma_stochastic_14_3 + (stochastic_14 - going_stochastic_14_3) / 3;
      end if;
      if n = 3 or n > 3 and (is_refresh or abs(going_stochastic_14_3) > 1e3::float8 * abs(sma_stochastic_14_3)) then
        sma_stochastic_14_3 := 0;
        for at in n - 3 + 1..n loop
          sma_stochastic_14_3 := sma_stochastic_14_3 + (stochastic_14_ring[at % bar_size + 1] - stochastic_14);
        end loop;
        sma_stochastic_14_3 := stochastic_14 + sma_stochastic_14_3 / 3;
      end if;
    end if;
    offset_typical_price_20 := ((last_typical_price_20[1] - typical_price) + (last_typical_price_20[2] - typical_price) + (last_typical_price_20[3] - typical_price) + (last_typical_price_20[4] - typical_price) + (last_typical_price_20[5] - typical_price) + (last_typical_price_20[6] - typical_price) + (last_typical_price_20[7] - typical_price) + (last_typical_price_20[8] - typical_price) + (last_typical_price_20[9] - typical_price) + (last_typical_price_20[10] - typical_price) + (last_typical_price_20[11] - typical_price) + (last_typical_price_20[12] - typical_price) + (last_typical_price_20[13] - typical_price) + (last_typical_price_20[14] - typical_price) + (last_typical_price_20[15] - typical_price) + (last_typical_price_20[16] - typical_price) + (last_typical_price_20[17] - typical_price) + (last_typical_price_20[18] - typical_price) + (last_typical_price_20[19] - typical_price) + (last_typical_price_20[20] - typical_price)) / 20;
    deviation_typical_price_20 := (abs(last_typical_price_20[1] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[2] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[3] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[4] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[5] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[6] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[7] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[8] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[9] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[10] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[11] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[12] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[13] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[14] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[15] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[16] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[17] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[18] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[19] - typical_price - offset_typical_price_20) + abs(last_typical_price_20[20] - typical_price - offset_typical_price_20)) / 20;
    if log_return is not null then
      return_count := return_count + 1;
      log_return_ring[return_count % return_size + 1] := log_return;
      if return_count >= 252 then
        going_log_return_252 := log_return_ring[(return_count - 252) % return_size + 1];
      end if;
      if return_count >= 252 and (log_return <> going_log_return_252 or sorted is null) then
        is_moved := size_log_return_252_25 = 0;
        if going_log_return_252 between low_log_return_252_25 and high_log_return_252_25 or log_return between low_log_return_252_25 and high_log_return_252_25 then
          is_moved := true;
          if going_log_return_252 < low_log_return_252_25 then
            below_log_return_252_25 := below_log_return_252_25 - 1;
          elsif going_log_return_252 <= high_log_return_252_25 then
            at := width_bucket(going_log_return_252, near_log_return_252_25);
            near_log_return_252_25 := near_log_return_252_25[:at - 1] || near_log_return_252_25[at + 1:];
            size_log_return_252_25 := size_log_return_252_25 - 1;
          end if;
          if log_return < low_log_return_252_25 then
            below_log_return_252_25 := below_log_return_252_25 + 1;
          elsif log_return <= high_log_return_252_25 then
            at := width_bucket(log_return, near_log_return_252_25);
            near_log_return_252_25 := near_log_return_252_25[:at] || log_return || near_log_return_252_25[at + 1:];
            size_log_return_252_25 := size_log_return_252_25 + 1;
          end if;
        elsif (log_return < low_log_return_252_25) <> (going_log_return_252 < low_log_return_252_25) then
          is_moved := true;
          below_log_return_252_25 := below_log_return_252_25 + case when log_return < low_log_return_252_25 then 1 else -1 end;
        end if;
        if is_moved then
          if size_log_return_252_25 = 0 or size_log_return_252_25 > most_log_return_252_25 or below_log_return_252_25 not between 64 - size_log_return_252_25 and 62 then
            sorted := array(
              select log_return_ring[place % return_size + 1]
              from generate_series(return_count - 251, return_count) as place
              order by 1
            );
            low_log_return_252_25 := sorted[47];
            high_log_return_252_25 := sorted[80];
            below_log_return_252_25 := array_position(sorted, low_log_return_252_25) - 1;
            near_log_return_252_25 := sorted[below_log_return_252_25 + 1:width_bucket(high_log_return_252_25, sorted)];
            size_log_return_252_25 := cardinality(near_log_return_252_25);
            most_log_return_252_25 := size_log_return_252_25 + 66;
          end if;
          quantile_log_return_252_25 := near_log_return_252_25[63 - below_log_return_252_25] + (
            near_log_return_252_25[64 - below_log_return_252_25] - near_log_return_252_25[63 - below_log_return_252_25]
          ) * 0.75::float8;
        end if;
        is_moved := size_log_return_252_75 = 0;
        if going_log_return_252 between low_log_return_252_75 and high_log_return_252_75 or log_return between low_log_return_252_75 and high_log_return_252_75 then
          is_moved := true;
          if going_log_return_252 < low_log_return_252_75 then
            below_log_return_252_75 := below_log_return_252_75 - 1;
          elsif going_log_return_252 <= high_log_return_252_75 then
            at := width_bucket(going_log_return_252, near_log_return_252_75);
            near_log_return_252_75 := near_log_return_252_75[:at - 1] || near_log_return_252_75[at + 1:];
            size_log_return_252_75 := size_log_return_252_75 - 1;
          end if;
          if log_return < low_log_return_252_75 then
            below_log_return_252_75 := below_log_return_252_75 + 1;
          elsif log_return <= high_log_return_252_75 then
            at := width_bucket(log_return, near_log_return_252_75);
            near_log_return_252_75 := near_log_return_252_75[:at] || log_return || near_log_return_252_75[at + 1:];
            size_log_return_252_75 := size_log_return_252_75 + 1;
          end if;
        elsif (log_return < low_log_return_252_75) <> (going_log_return_252 < low_log_return_252_75) then
          is_moved := true;
          below_log_return_252_75 := below_log_return_252_75 + case when log_return < low_log_return_252_75 then 1 else -1 end;
        end if;
        if is_moved then
          if size_log_return_252_75 = 0 or size_log_return_252_75 > most_log_return_252_75 or below_log_return_252_75 not between 190 - size_log_return_252_75 and 188 then
            sorted := array(
              select log_return_ring[place % return_size + 1]
              from generate_series(return_count - 251, return_count) as place
              order by 1
            );
            low_log_return_252_75 := sorted[173];
            high_log_return_252_75 := sorted[206];
            below_log_return_252_75 := array_position(sorted, low_log_return_252_75) - 1;
            near_log_return_252_75 := sorted[below_log_return_252_75 + 1:width_bucket(high_log_return_252_75, sorted)];
            size_log_return_252_75 := cardinality(near_log_return_252_75);
            most_log_return_252_75 := size_log_return_252_75 + 66;
          end if;
          quantile_log_return_252_75 := near_log_return_252_75[189 - below_log_return_252_75] + (
            near_log_return_252_75[190 - below_log_return_252_75] - near_log_return_252_75[189 - below_log_return_252_75]
          ) * 0.25::float8;
        end if;
      end if;
    if return_count > 365 and not is_refresh then
      going_log_return_30 := log_return_ring[(return_count - 30) % return_size + 1];
      squares_log_return_30 := squares_log_return_30
        + (log_return - going_log_return_30) * (log_return - mean_log_return_30 + going_log_return_30 - mean_log_return_30 - (log_return - going_log_return_30) / 30);
      mean_log_return_30 := mean_log_return_30 + (log_return - going_log_return_30) / 30;
      peak_log_return_30 := greatest(peak_log_return_30, squares_log_return_30);
      going_log_return_length_252_365 := log_return_ring[(return_count - length_252_365) % return_size + 1];
      squares_log_return_length_252_365 := squares_log_return_length_252_365
        + (log_return - going_log_return_length_252_365) * (log_return - mean_log_return_length_252_365 + going_log_return_length_252_365 - mean_log_return_length_252_365 - (log_return - going_log_return_length_252_365) / length_252_365);
      mean_log_return_length_252_365 := mean_log_return_length_252_365 + (log_return - going_log_return_length_252_365) / length_252_365;
      peak_log_return_length_252_365 := greatest(peak_log_return_length_252_365, squares_log_return_length_252_365);
      if squares_log_return_30 < 1e-3::float8 * peak_log_return_30 or squares_log_return_length_252_365 < 1e-3::float8 * peak_log_return_length_252_365 then
        mean_log_return_30 := 0;
        for at in return_count - 30 + 1..return_count loop
          mean_log_return_30 := mean_log_return_30 + (log_return_ring[at % return_size + 1] - log_return);
        end loop;
        mean_log_return_30 := log_return + mean_log_return_30 / 30;
        squares_log_return_30 := 0;
        for at in return_count - 30 + 1..return_count loop
          squares_log_return_30 := squares_log_return_30 + (log_return_ring[at % return_size + 1] - mean_log_return_30) ^ 2;
        end loop;
        peak_log_return_30 := squares_log_return_30;
        mean_log_return_length_252_365 := 0;
        for at in return_count - length_252_365 + 1..return_count loop
          mean_log_return_length_252_365 := mean_log_return_length_252_365 + (log_return_ring[at % return_size + 1] - log_return);
        end loop;
        mean_log_return_length_252_365 := log_return + mean_log_return_length_252_365 / length_252_365;
        squares_log_return_length_252_365 := 0;
        for at in return_count - length_252_365 + 1..return_count loop
          squares_log_return_length_252_365 := squares_log_return_length_252_365 + (log_return_ring[at % return_size + 1] - mean_log_return_length_252_365) ^ 2;
        end loop;
        peak_log_return_length_252_365 := squares_log_return_length_252_365;
      end if;
    else
      if return_count > 30 and not is_refresh then
        going_log_return_30 := log_return_ring[(return_count - 30) % return_size + 1];
      squares_log_return_30 := squares_log_return_30
        + (log_return - going_log_return_30) * (log_return - mean_log_return_30 + going_log_return_30 - mean_log_return_30 - (log_return - going_log_return_30) / 30);
      mean_log_return_30 := mean_log_return_30 + (log_return - going_log_return_30) / 30;
      peak_log_return_30 := greatest(peak_log_return_30, squares_log_return_30);
      end if;
      if return_count = 30 or return_count > 30 and (is_refresh or squares_log_return_30 < 1e-3::float8 * peak_log_return_30) then
        mean_log_return_30 := 0;
        for at in return_count - 30 + 1..return_count loop
          mean_log_return_30 := mean_log_return_30 + (log_return_ring[at % return_size + 1] - log_return);
        end loop;
        mean_log_return_30 := log_return + mean_log_return_30 / 30;
        squares_log_return_30 := 0;
        for at in return_count - 30 + 1..return_count loop
          squares_log_return_30 := squares_log_return_30 + (log_return_ring[at % return_size + 1] - mean_log_return_30) ^ 2;
        end loop;
        peak_log_return_30 := squares_log_return_30;
      end if;
      if return_count > length_252_365 and not is_refresh then
        going_log_return_length_252_365 := log_return_ring[(return_count - length_252_365) % return_size + 1];
      squares_log_return_length_252_365 := squares_log_return_length_252_365
        + (log_return - going_log_return_length_252_365) * (log_return - mean_log_return_length_252_365 + going_log_return_length_252_365 - mean_log_return_length_252_365 - (log_return - going_log_return_length_252_365) / length_252_365);
      mean_log_return_length_252_365 := mean_log_return_length_252_365 + (log_return - going_log_return_length_252_365) / length_252_365;
      peak_log_return_length_252_365 := greatest(peak_log_return_length_252_365, squares_log_return_length_252_365);
      end if;
      if return_count = length_252_365 or return_count > length_252_365 and (is_refresh or squares_log_return_length_252_365 < 1e-3::float8 * peak_log_return_length_252_365) then
        mean_log_return_length_252_365 := 0;
        for at in return_count - length_252_365 + 1..return_count loop
          mean_log_return_length_252_365 := mean_log_return_length_252_365 + (log_return_ring[at % return_size + 1] - log_return);
        end loop;
        mean_log_return_length_252_365 := log_return + mean_log_return_length_252_365 / length_252_365;
        squares_log_return_length_252_365 := 0;
        for at in return_count - length_252_365 + 1..return_count loop
          squares_log_return_length_252_365 := squares_log_return_length_252_365 + (log_return_ring[at % return_size + 1] - mean_log_return_length_252_365) ^ 2;
        end loop;
        peak_log_return_length_252_365 := squares_log_return_length_252_365;
      end if;
    end if;
      return_zscore_252_365 := (log_return - mean_log_return_length_252_365) / nullif(sqrt(squares_log_return_length_252_365 / (length_252_365 - 1)), 0);
    end if;
    if range_return is not null then
      range_count := range_count + 1;
      garman_klass_term_ring[range_count % range_size + 1] := garman_klass_term;
      range_squared_ring[range_count % range_size + 1] := range_squared;
      rogers_satchell_term_ring[range_count % range_size + 1] := rogers_satchell_term;
    if range_count > 30 and not is_refresh then
      going_garman_klass_term_30 := garman_klass_term_ring[(range_count - 30) % range_size + 1];
      sma_garman_klass_term_30 := sma_garman_klass_term_30 + (garman_klass_term - going_garman_klass_term_30) / 30;
      going_range_squared_30 := range_squared_ring[(range_count - 30) % range_size + 1];
      sma_range_squared_30 := sma_range_squared_30 + (range_squared - going_range_squared_30) / 30;
      going_rogers_satchell_term_30 := rogers_satchell_term_ring[(range_count - 30) % range_size + 1];
      sma_rogers_satchell_term_30 := sma_rogers_satchell_term_30 + (rogers_satchell_term - going_rogers_satchell_term_30) / 30;
      if abs(going_garman_klass_term_30) > 1e3::float8 * abs(sma_garman_klass_term_30) or abs(going_range_squared_30) > 1e3::float8 * abs(sma_range_squared_30) or abs(going_rogers_satchell_term_30) > 1e3::float8 * abs(sma_rogers_satchell_term_30) then
        sma_garman_klass_term_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_garman_klass_term_30 := sma_garman_klass_term_30 + (garman_klass_term_ring[at % range_size + 1] - garman_klass_term);
        end loop;
        sma_garman_klass_term_30 := garman_klass_term + sma_garman_klass_term_30 / 30;
        sma_range_squared_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_range_squared_30 := sma_range_squared_30 + (range_squared_ring[at % range_size + 1] - range_squared);
        end loop;
        sma_range_squared_30 := range_squared + sma_range_squared_30 / 30;
        sma_rogers_satchell_term_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_rogers_satchell_term_30 := sma_rogers_satchell_term_30 + (rogers_satchell_term_ring[at % range_size + 1] - rogers_satchell_term);
        end loop;
        sma_rogers_satchell_term_30 := rogers_satchell_term + sma_rogers_satchell_term_30 / 30;
      end if;
    else
      if range_count > 30 and not is_refresh then
        going_garman_klass_term_30 := garman_klass_term_ring[(range_count - 30) % range_size + 1];
      sma_garman_klass_term_30 := sma_garman_klass_term_30 + (garman_klass_term - going_garman_klass_term_30) / 30;
      end if;
      if range_count = 30 or range_count > 30 and (is_refresh or abs(going_garman_klass_term_30) > 1e3::float8 * abs(sma_garman_klass_term_30)) then
        sma_garman_klass_term_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_garman_klass_term_30 := sma_garman_klass_term_30 + (garman_klass_term_ring[at % range_size + 1] - garman_klass_term);
        end loop;
        sma_garman_klass_term_30 := garman_klass_term + sma_garman_klass_term_30 / 30;
      end if;
      if range_count > 30 and not is_refresh then
        going_range_squared_30 := range_squared_ring[(range_count - 30) % range_size + 1];
      sma_range_squared_30 := sma_range_squared_30 + (range_squared - going_range_squared_30) / 30;
      end if;
      if range_count = 30 or range_count > 30 and (is_refresh or abs(going_range_squared_30) > 1e3::float8 * abs(sma_range_squared_30)) then
        sma_range_squared_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_range_squared_30 := sma_range_squared_30 + (range_squared_ring[at % range_size + 1] - range_squared);
        end loop;
        sma_range_squared_30 := range_squared + sma_range_squared_30 / 30;
      end if;
      if range_count > 30 and not is_refresh then
        going_rogers_satchell_term_30 := rogers_satchell_term_ring[(range_count - 30) % range_size + 1];
      sma_rogers_satchell_term_30 := sma_rogers_satchell_term_30 + (rogers_satchell_term - going_rogers_satchell_term_30) / 30;
      end if;
      if range_count = 30 or range_count > 30 and (is_refresh or abs(going_rogers_satchell_term_30) > 1e3::float8 * abs(sma_rogers_satchell_term_30)) then
        sma_rogers_satchell_term_30 := 0;
        for at in range_count - 30 + 1..range_count loop
          sma_rogers_satchell_term_30 := sma_rogers_satchell_term_30 + (rogers_satchell_term_ring[at % range_size + 1] - rogers_satchell_term);
        end loop;
        sma_rogers_satchell_term_30 := rogers_satchell_term + sma_rogers_satchell_term_30 / 30;
      end if;
    end if;
    end if;

    if n % 256 = 0 then
      sum_true_range_14 := case when abs(sum_true_range_14) < 1e-150::float8 then 0 else sum_true_range_14 end;
      sum_plus_movement_14 := case when abs(sum_plus_movement_14) < 1e-150::float8 then 0 else sum_plus_movement_14 end;
      sum_minus_movement_14 := case when abs(sum_minus_movement_14) < 1e-150::float8 then 0 else sum_minus_movement_14 end;
      adx_14 := case when abs(adx_14) < 1e-150::float8 then 0 else adx_14 end;
      wilder_true_range_14 := case when abs(wilder_true_range_14) < 1e-150::float8 then 0 else wilder_true_range_14 end;
      ema_close_10 := case when abs(ema_close_10) < 1e-150::float8 then 0 else ema_close_10 end;
      ema_close_200 := case when abs(ema_close_200) < 1e-150::float8 then 0 else ema_close_200 end;
      ema_close_21 := case when abs(ema_close_21) < 1e-150::float8 then 0 else ema_close_21 end;
      ema_close_50 := case when abs(ema_close_50) < 1e-150::float8 then 0 else ema_close_50 end;
      ema_close_9 := case when abs(ema_close_9) < 1e-150::float8 then 0 else ema_close_9 end;
      ema_close_12_14 := case when abs(ema_close_12_14) < 1e-150::float8 then 0 else ema_close_12_14 end;
      ema_close_26 := case when abs(ema_close_26) < 1e-150::float8 then 0 else ema_close_26 end;
      signal_12_26_9 := case when abs(signal_12_26_9) < 1e-150::float8 then 0 else signal_12_26_9 end;
      ema_close_8_9 := case when abs(ema_close_8_9) < 1e-150::float8 then 0 else ema_close_8_9 end;
      ema_close_17 := case when abs(ema_close_17) < 1e-150::float8 then 0 else ema_close_17 end;
      signal_8_17_9 := case when abs(signal_8_17_9) < 1e-150::float8 then 0 else signal_8_17_9 end;
      wilder_gain_14 := case when abs(wilder_gain_14) < 1e-150::float8 then 0 else wilder_gain_14 end;
      wilder_loss_14 := case when abs(wilder_loss_14) < 1e-150::float8 then 0 else wilder_loss_14 end;
      wilder_gain_21 := case when abs(wilder_gain_21) < 1e-150::float8 then 0 else wilder_gain_21 end;
      wilder_loss_21 := case when abs(wilder_loss_21) < 1e-150::float8 then 0 else wilder_loss_21 end;
      wilder_gain_7 := case when abs(wilder_gain_7) < 1e-150::float8 then 0 else wilder_gain_7 end;
      wilder_loss_7 := case when abs(wilder_loss_7) < 1e-150::float8 then 0 else wilder_loss_7 end;
      if closed_at >= first_at then
        checkpoint := array[
          signature,
          n,
          return_count,
          range_count,
          bars_since_outage,
          close,
          high,
          low,
          nullif(close, 0),
          sum_true_range_14,
          sum_plus_movement_14,
          sum_minus_movement_14,
          adx_14,
          wilder_true_range_14,
          mean_close_20,
          squares_close_20,
          peak_close_20,
          highest_20,
          begun_highest_20,
          lowest_20,
          begun_lowest_20,
          ema_close_10,
          ema_close_200,
          ema_close_21,
          ema_close_50,
          ema_close_9,
          sma_garman_klass_term_30,
          ema_close_12_14,
          ema_close_26,
          signal_12_26_9,
          ema_close_8_9,
          ema_close_17,
          signal_8_17_9,
          obv,
          sma_range_squared_30,
          mean_log_return_30,
          squares_log_return_30,
          peak_log_return_30,
          quantile_log_return_252_25,
          quantile_log_return_252_75,
          mean_log_return_length_252_365,
          squares_log_return_length_252_365,
          peak_log_return_length_252_365,
          sma_rogers_satchell_term_30,
          wilder_gain_14,
          wilder_loss_14,
          wilder_gain_21,
          wilder_loss_21,
          wilder_gain_7,
          wilder_loss_7,
          sma_close_200,
          sma_close_50,
          highest_14,
          begun_highest_14,
          lowest_14,
          begun_lowest_14,
          sma_stochastic_14_3
        ] || close_ring || last_typical_price_20 || high_ring || rest_highest_20 || low_ring || rest_lowest_20 || garman_klass_term_ring || range_squared_ring || log_return_ring || rogers_satchell_term_ring || rest_highest_14 || rest_lowest_14 || stochastic_14_ring;
        return next;
        checkpoint := null;
      end if;
    elsif closed_at >= first_at then
      return next;
    end if;
    gap_before := null;
    previous_close := close;
    previous_high := high;
    previous_low := low;
    reference_close := nullif(close, 0);
  end loop;
  close gaps;
end
