"""Documents and results: the only database client."""
