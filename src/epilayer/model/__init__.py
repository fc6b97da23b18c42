"""Units, typed inputs, typed results and the error tree. Imports nothing else of ours."""
