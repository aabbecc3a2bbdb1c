"""Where candles come from. Every source yields batches (ingest.batch); none of them touches the database."""
