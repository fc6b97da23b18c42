"""Names that look unused but are not: called by frameworks, read by users, or fields of records."""
