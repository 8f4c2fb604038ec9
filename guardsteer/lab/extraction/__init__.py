"""From what was captured, or a file from elsewhere, to a vector."""
