{{ config(
    memory='recursive', key=['instrument_id', 'timeframe', 'closed_at', 'signal', 'direction', 'action'], frozen='base',
    post_hook='{{ signal_views() }}'
) }}
{%- set readable = readable_features(enabled_features()) %}
{%- set signals = signal_program(enabled_signals(), readable) %}

{{ signal_events(signals, feed(ref('bar_features'), preceding=1), readable) }}

select
    event.instrument_id,
    event.timeframe,
    event.closed_at,
    event.signal,
    event.direction,
    event.action,
    signal.type,
    -- An event is of a finished bar: it is known when the bar closes.
    event.closed_at as known_at,
    event.close,
    event.fraction,
    event.features,
    event.feature_hash,
    signal.params_hash
from event
inner join {{ ref('dim_signal') }} as signal on event.signal = signal.signal
