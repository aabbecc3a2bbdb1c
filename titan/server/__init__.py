"""The embedded server, and the schemas of any server."""
