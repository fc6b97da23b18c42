"""Streaming readers of molecular-dynamics output, and the one-file columnar store they fill."""

from epilayer.trajectory.frames import Block, Header, Source
from epilayer.trajectory.sources import open_source
from epilayer.trajectory.store import Trajectory, TrajectoryWriter, ingest

__all__ = ["Block", "Header", "Source", "Trajectory", "TrajectoryWriter", "ingest", "open_source"]
