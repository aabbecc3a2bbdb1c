"""The statements that the gateway sends, a file each: every answer is one, so that it is of one instant."""
