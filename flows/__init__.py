"""Prefect flows: thin. Each calls what the command line calls, a step a task."""
