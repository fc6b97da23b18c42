"""Molecular dynamics in segments, with the embedded engines."""
