"""How far work is: a live display of a run (one line an event without a terminal), and trajectories."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from epilayer.cli.common import out

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from rich.console import RenderableType

    from epilayer.launch.base import Event, JobInfo
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.study import trajectories

_OPEN = ("READY", "WAITING", "RUNNING")


class Progress:
    """Shows events as they come, and how long the rest will take, judged by what jobs alike took.

    Parameters
    ----------
    queue
        Asked for its counts.
    quiet
        Show nothing.
    """

    def __init__(self, queue: EmbeddedQueue, *, quiet: bool) -> None:
        self.queue = queue
        self.quiet = quiet
        self.started = time.monotonic()
        self.running: dict[int, tuple[JobInfo, float]] = {}
        self.spent_s: dict[str, list[float]] = defaultdict(list)
        self.live: Live | None = None

    def __enter__(self) -> Self:
        if not self.quiet and out.is_terminal:
            self.live = Live(get_renderable=self._picture, console=out, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def on_event(self, event: Event) -> None:
        """Take note of an event, and print a line for what has ended."""
        job = event.job
        if event.kind == "started":
            self.running[job.number] = (job, time.monotonic())
            return
        _, since = self.running.pop(job.number, (job, time.monotonic()))
        spent_s = time.monotonic() - since
        if event.kind == "completed":
            self.spent_s[_kind(job)].append(spent_s)
        if self.quiet:
            return
        style = {"completed": "green", "failed": "bold red", "crashed": "yellow"}.get(event.kind, "")
        cause = f"  {escape(job.cause)}" if event.kind != "completed" and job.cause else ""
        clock = time.monotonic() - self.started
        mark = f"[{style}]{event.kind:>9}[/]" if style else f"{event.kind:>9}"
        out.print(
            f"{clock:6.0f} s {mark} {spent_s:6.1f} s  {job.number:>4} {escape(job.name)}{cause}",
            soft_wrap=True,
        )

    def _picture(self) -> RenderableType:
        counts = {s.value: n for s, n in self.queue.status().counts.items()}
        done, total = counts.get("COMPLETED", 0), sum(counts.values())
        grid = Table.grid(padding=(0, 2))
        left = self._remaining_s(counts)
        eta = "" if left is None else f"about {max(1, round(left / 60))} min left"
        grid.add_row(ProgressBar(total=max(total, 1), completed=done, width=30), f"{done}/{total} jobs", eta)
        body = Table.grid(padding=(0, 2))
        body.add_row(grid)
        for job, since in list(self.running.values()):
            body.add_row(f"  [cyan]{time.monotonic() - since:5.0f} s[/]  {job.number:>4} {escape(job.name)}")
        return body

    def _remaining_s(self, counts: dict[str, int]) -> float | None:
        known = [s for values in self.spent_s.values() for s in values]
        if not known:
            return None
        left = sum(counts.get(s, 0) for s in _OPEN)
        return sum(known) / len(known) * left / max(len(self.running), 1)


def _kind(job: JobInfo) -> str:
    return job.name.split(" ", 1)[0]


def trajectory_table(found: Sequence[trajectories.Progress], running: Collection[str]) -> Table:
    """Return trajectories as a table.

    Parameters
    ----------
    running
        Names of the jobs that run now.
    """
    shown = Table(box=None, pad_edge=False, title="trajectories", title_justify="left", title_style="bold")
    for heading in ("name", "done", "of", "", "now", "left", "ends"):
        shown.add_column(heading, justify="right" if heading in {"done", "of", "", "left"} else "left")
    for one in found:
        state = "[green]complete[/]" if one.complete else "runs" if one.label in running else "waits"
        shown.add_row(
            escape(one.title),
            f"{one.time_ps:.3f} ps",
            f"{one.wanted_ps:g} ps",
            f"{100 * one.step / (one.steps or 1):.0f} %",
            state,
            one.pace.left if one.pace.ends else "",
            one.pace.ends,
        )
    return shown


def trajectory_json(one: trajectories.Progress) -> dict[str, Any]:
    """Return how far a trajectory is, as JSON values."""
    return {
        "trajectory": str(one.folder),
        "name": one.title,
        "level": one.level,
        "step": one.step,
        "steps": one.steps,
        "done_ps": one.time_ps,
        "wanted_ps": one.wanted_ps,
        "complete": one.complete,
        "seconds_per_step": one.pace.per_step_s,
        "time_left_s": one.pace.left_s,
        "ends_s": one.pace.ends_s,
    }
