"""The statements of operations, a file each; titan.core.database.statement reads them."""
