"""The batch jobs of chains: when each ran, which steps it computed, and the waits between them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError
from epilayer.study.trajectories import in_progress

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.chains import LinkRow
    from epilayer.launch.cluster import ClusterLauncher
    from epilayer.study.trajectories import Progress


@dataclass(frozen=True)
class Link:
    """One batch job of a chain.

    Attributes
    ----------
    start_s, end_s
        Seconds since the epoch; ``None`` where it has not begun, or not ended.
    gap_s
        From the end of the link before to the start of this one.
    directories
        Where it ran jobs of the chain, in alphabetical order.
    first_step, last_step, steps
        What it added to the trajectory; ``None`` where it added nothing yet.
    set_up_s
        From its start until it began to compute.
    lost_steps
        Computed and not kept, where that is known.
    """

    scheduler_id: str
    state: str
    start_s: float | None
    end_s: float | None
    gap_s: float | None
    directories: list[str]
    first_step: int | None = None
    last_step: int | None = None
    steps: int | None = None
    set_up_s: float | None = None
    lost_steps: int | None = None


@dataclass(frozen=True)
class Chain:
    """The links of a chain, named by the job that it begins with, and how far its trajectory is."""

    chain: int
    name: str
    links: list[Link]
    trajectory: Progress | None

    @property
    def median_gap_s(self) -> float | None:
        """The median wait between links that computed."""
        gaps_s = [one.gap_s for one in self.links if one.gap_s is not None and one.steps is not None]
        return median(gaps_s) if gaps_s else None


def chains_of(launcher: ClusterLauncher, root: Path, job: int | None) -> list[Chain]:
    """Return every chain, or that of a job, with its links and how far its trajectory is.

    Raises
    ------
    InputError
        If the job belongs to no chain.
    """
    chains = launcher.chains
    wanted = chains.all() if job is None else list(chains.of([job]).values())
    if job is not None and not wanted:
        raise InputError(f"Job #{job} belongs to no chain.", "epilayer cluster links lists them.")
    known = in_progress(root)
    found = []
    for chain in wanted:
        rows = chains.links(chain, launcher.slurm.spans(chains.name(chain)))
        ran = {str(directory) for row in rows for directory in row.directories}
        course = next((one for one in known if any(r["directory"] in ran for r in one.runs)), None)
        links = [_link(row, course) for row in rows]
        found.append(Chain(chain, launcher.queue.job(chain).name, links, course))
    return found


def _link(row: LinkRow, course: Progress | None) -> Link:
    from epilayer.engines.dynamics.progress import last_step_of

    own = {str(directory) for directory in row.directories}
    bare = (row.scheduler_id, row.state, row.start_s, row.end_s, row.gap_s, sorted(own))
    runs = course.runs if course is not None else ()
    mine = [k for k, run in enumerate(runs) if run["directory"] in own]
    if course is None or not mine:
        return Link(*bare)
    first, after = int(runs[mine[0]]["first_step"]), mine[-1] + 1
    last = int(runs[after]["first_step"]) if after < len(runs) else course.step
    computed = last_step_of(runs[mine[-1]])
    return Link(
        *bare,
        first_step=first,
        last_step=last,
        steps=last - first,
        set_up_s=runs[mine[0]]["started_s"] - row.start_s if row.start_s is not None else None,
        lost_steps=None if computed is None else max(computed - last, 0),
    )
