"""What everything else stands on: settings, connections, errors, logs, batches, calendars. Imports none of the others."""
