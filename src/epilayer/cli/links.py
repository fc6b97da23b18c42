"""``epilayer cluster links``: the batch jobs of a chain, with the steps that each computed."""

from __future__ import annotations

import dataclasses
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import out
from epilayer.cli.progress import trajectory_json
from epilayer.model.errors import InputError
from epilayer.study.trajectories import clock, in_progress, moment

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.chains import LinkRow
    from epilayer.launch.cluster import ClusterLauncher
    from epilayer.study.trajectories import Progress


def chains_of(launcher: ClusterLauncher, root: Path, job: int | None) -> list[dict[str, Any]]:
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
        gaps_s = [link["gap_s"] for link in links if link["gap_s"] is not None and link["steps"] is not None]
        found.append(
            {
                "chain": chain,
                "name": launcher.queue.job(chain).name,
                "links": links,
                "median_gap_s": median(gaps_s) if gaps_s else None,
                "trajectory": trajectory_json(course) if course is not None else None,
            }
        )
    return found


def _link(row: LinkRow, course: Progress | None) -> dict[str, Any]:
    """Return a link with its steps, and how long it took until it computed the first of them.

    ``lost_steps`` were computed and not kept, where that can be told.
    """
    from epilayer.engines.dynamics.progress import last_step_of

    own = {str(directory) for directory in row.directories}
    runs = course.runs if course is not None else ()
    mine = [k for k, run in enumerate(runs) if run["directory"] in own]
    link = dataclasses.asdict(row) | {"directories": sorted(own), "steps": None}
    link |= {"set_up_s": None, "lost_steps": None}
    if course is None or not mine:
        return link
    first = int(runs[mine[0]]["first_step"])
    after = mine[-1] + 1
    last = int(runs[after]["first_step"]) if after < len(runs) else course.step
    computed = last_step_of(runs[mine[-1]])
    return link | {
        "first_step": first,
        "last_step": last,
        "steps": last - first,
        "set_up_s": runs[mine[0]]["started_s"] - row.start_s if row.start_s is not None else None,
        "lost_steps": None if computed is None else max(computed - last, 0),
    }


def show_chain(chain: dict[str, Any]) -> None:
    """Print a chain."""
    course = chain["trajectory"]
    out.print(f"[bold]{escape(chain['name'])}[/] (job {chain['chain']})")
    if course is not None:
        out.print(f"{course['done_ps']:.3f} of {course['wanted_ps']:g} ps{_ends(course)}")
    table = Table(box=None, pad_edge=False)
    for heading in ("SLURM job", "state", "start", "end", "gap", "set-up", "steps", "lost"):
        left = heading in {"SLURM job", "state"}
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for link in chain["links"]:
        steps = "" if link["steps"] is None else f"{link['first_step']} - {link['last_step']}"
        table.add_row(
            link["scheduler_id"],
            link["state"],
            _time(link["start_s"]),
            _time(link["end_s"]),
            _seconds(link["gap_s"]),
            _seconds(link["set_up_s"]),
            steps,
            "" if link["lost_steps"] is None else str(link["lost_steps"]),
        )
    out.print(table)
    if chain["median_gap_s"] is not None:
        out.print(f"Median gap between links that computed: {chain['median_gap_s']:g} s")


def _ends(course: dict[str, Any]) -> str:
    if course["complete"]:
        return ", complete"
    if course["ends_s"] is None:
        return ""
    return f", {clock(course['time_left_s'])} left, ends about {moment(course['ends_s'])}"


def _time(stamp_s: float | None) -> str:
    return "" if stamp_s is None else time.strftime("%H:%M:%S", time.localtime(stamp_s))


def _seconds(value_s: float | None) -> str:
    return "" if value_s is None else f"{value_s:.0f} s"
