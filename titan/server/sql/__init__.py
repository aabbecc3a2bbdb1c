"""The statements of the server, a file each; titan.core.database.statement reads them."""
