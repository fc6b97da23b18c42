"""Engines: the only home of calculators and calculation inputs."""
