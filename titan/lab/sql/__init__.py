"""The statements of the lab, a file each; titan.core.database.statement reads them."""
