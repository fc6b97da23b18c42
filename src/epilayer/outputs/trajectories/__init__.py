"""Streaming readers of the trajectories that other programs write."""
