"""What runs: loads, refreshes, runs, watches, and what they leave to be looked at."""
