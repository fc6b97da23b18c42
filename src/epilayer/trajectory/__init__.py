"""Streaming readers of molecular-dynamics output, and the one-file columnar store they fill."""

from epilayer.outputs.trajectories.frames import Block, Header, Source
from epilayer.outputs.trajectories.sources import open_source
from epilayer.trajectory.store import Trajectory, TrajectoryWriter, ingest

__all__ = ["Block", "Header", "Source", "Trajectory", "TrajectoryWriter", "ingest", "open_source"]
