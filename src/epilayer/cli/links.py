"""``epilayer cluster links``: the batch jobs of a chain, with the steps that each computed."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from epilayer.cli.common import out, plain_table
from epilayer.cli.progress import trajectory_json

if TYPE_CHECKING:
    from epilayer.study.chains import Chain, Link
    from epilayer.study.trajectories import Progress


def chain_json(chain: Chain) -> dict[str, Any]:
    """Return a chain as JSON values."""
    return {
        "chain": chain.chain,
        "name": chain.name,
        "links": [dataclasses.asdict(link) for link in chain.links],
        "median_gap_s": chain.median_gap_s,
        "trajectory": trajectory_json(chain.trajectory) if chain.trajectory is not None else None,
    }


def show_chain(chain: Chain) -> None:
    """Print a chain."""
    out.print(f"[bold]{escape(chain.name)}[/] (job {chain.chain})")
    course = chain.trajectory
    if course is not None:
        out.print(f"{course.time_ps:.3f} of {course.wanted_ps:g} ps{_ends(course)}")
    headings = ("SLURM job", "state", "start", "end", "gap", "set-up", "steps", "lost")
    out.print(plain_table(headings, map(_cells, chain.links), right=headings[2:], no_wrap=headings))
    if chain.median_gap_s is not None:
        out.print(f"Median gap between links that computed: {chain.median_gap_s:g} s")


def _cells(link: Link) -> tuple[str, ...]:
    return (
        link.scheduler_id,
        link.state,
        _time(link.start_s),
        _time(link.end_s),
        _seconds(link.gap_s),
        _seconds(link.set_up_s),
        "" if link.steps is None else f"{link.first_step} - {link.last_step}",
        "" if link.lost_steps is None else str(link.lost_steps),
    )


def _ends(course: Progress) -> str:
    if course.complete:
        return ", complete"
    pace = course.pace
    return f", {pace.left} left, ends {pace.ends}" if pace.left and pace.ends else ""


def _time(stamp_s: float | None) -> str:
    return "" if stamp_s is None else time.strftime("%H:%M:%S", time.localtime(stamp_s))


def _seconds(value_s: float | None) -> str:
    return "" if value_s is None else f"{value_s:.0f} s"
