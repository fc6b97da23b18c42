"""jobflow Makers that take an engine; no files, no calculation inputs."""
