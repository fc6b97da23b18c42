"""The application: open a study, submit, run, query, verify, report; the only reader of configuration."""
