"""The command line: no logic, and imports where they are used."""
