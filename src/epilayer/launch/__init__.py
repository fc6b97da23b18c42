"""The queue protocol and its embedded implementation: processes and schedulers, no chemistry."""
