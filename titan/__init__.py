"""The command line, the server and the migrations of Titan: glue around ingest/ and dbt_project/."""
