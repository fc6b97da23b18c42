"""A long AIMD as a chain of batch jobs on the real scheduler, struck on the way; and what became of it.

Usage: ``python chain_drill.py FOLDER [--engine vasp|toy] [--strikes signal,timeout,node,signal]`` with the
one-machine SLURM and the test database up (slurm/dev/start, its env.sh sourced). With ``vasp`` the binary is
the VASP stand-in. Each strike ends one link in the midst of its steps; after the last one the chain runs to
its end by itself. Nobody reconciles the queue meanwhile: that is the links' own work.

``signal``   what SLURM sends ahead of the time limit (USR1)
``limit``    nothing: the link runs into its time limit of a minute, and SLURM warns it
``timeout``  the time limit is moved to now (TIMEOUT)
``node``     the node is set DOWN (NODE_FAIL), and comes back

Prints the table of links and the medians, and compares the trajectory with one that was never cut.
"""

# ruff: noqa: E402, T201 - a program: it prints, and batch jobs must find its modules before they are imported.

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "src")]
os.environ["PYTHONPATH"] = str(ROOT / "src")

import atomate2
import numpy as np
import pymatgen.core
from monty.json import MontyDecoder

from epilayer import Study
from epilayer.cli.common import out
from epilayer.cli.links import show_chain
from epilayer.cli.progress import trajectory_table
from epilayer.flows.transport import TransportMaker, TransportPlan, begun, hold_host
from epilayer.model.dynamics import DynamicsSettings
from epilayer.study.chains import chains_of
from epilayer.study.cluster import launcher_of
from epilayer.study.rehearsal import set_up
from epilayer.study.trajectories import in_progress
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobflow import Flow

    from epilayer.model.dynamics import Segment
    from epilayer.study.trajectories import Progress

LOADED = runpy.run_path(str(ROOT / "tests" / "workflows" / "test_transport_flow.py"))
PROFILE = """\
name: drill
title: the one-machine SLURM, for drills
source: slurm/dev/start
database: {database}
preamble: drill/preamble.sh
signal_ahead_s: 20
most_queued: 40
poll_s: 1
resources: {{tasks: 1, memory: 1G, walltime: "{walltime}", partition: debug}}
chains: [{{jobs: "dynamics of *", links: {links}}}]
"""
PATIENCE_S = 240.0
LEVELS = {"vasp": "paper", "toy": "toy"}
CHECKPOINT_EVERY, MOST_GAP_S = 10, 3.0
SAME_ANG = {"vasp": 1.3e-7, "toy": 1e-8}
"""One unit in the eighth decimal that CONTCAR has of a coordinate; an embedded engine loses nothing."""


@dataclass
class Verdict:
    """What the drill has seen."""

    gaps_s: list[float]
    """Between successive links that had something to do."""
    spare: int
    """Links that found the trajectory done."""
    lost_steps: int
    """The most that one link had computed and the next computed again."""
    exact: bool
    """Whether every step is stored once."""
    apart_ang: float
    """From the trajectory that was never cut."""
    states: list[str]


class Drill:
    """A study on the one-machine SLURM with one trajectory in it."""

    def __init__(self, folder: Path, engine: str, steps: int, strikes: list[str], step_s: float) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.engine, self.strikes = folder, engine, strikes
        (folder / "configs" / "clusters").mkdir(parents=True)
        (folder / "slurm" / "drill").mkdir(parents=True)
        database = f"{os.environ['EPILAYER_DEV_MONGO']}chain_{uuid.uuid4().hex[:10]}"
        walltime = "01:00" if "limit" in strikes else "20:00"
        profile = PROFILE.format(database=database, walltime=walltime, links=len(strikes) + 2)
        (folder / "configs" / "clusters" / "drill.yaml").write_text(profile, encoding="utf-8")
        (folder / "epilayer.yaml").write_text("queue: drill\n", encoding="utf-8")
        self.environment = {
            **set_up(folder / "stand-in"),
            "VASP_STANDIN_ROUND": "1",
            "VASP_STANDIN_TIES": str(folder / "ties"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        told = {**self.environment, "VASP_STANDIN_STEP_S": str(step_s)}
        preamble = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items())
        (folder / "slurm" / "drill" / "preamble.sh").write_text(preamble, encoding="utf-8")
        self.study = Study.open(folder)
        self.queue = self.study.cluster_queue(patience_s=120.0)
        self.launcher = launcher_of(self.study, self.queue)
        self.flow = self._flow(steps)
        self.seen: list[int] = []
        """Step that had been computed when each link was struck."""

    def _flow(self, steps: int) -> Flow:
        dynamics = DynamicsSettings(time_step_fs=0.5, checkpoint_every=CHECKPOINT_EVERY)
        self.plan = TransportPlan(
            dynamics=dynamics, equilibration_steps=10, production_steps=steps - 10, minimise_steps=3
        )
        self.md: Any = self.study.catalogue.engine(LEVELS[self.engine])
        maker = TransportMaker(engine=self.md, plan=self.plan)
        return maker.make("drill pore", LOADED["pore"](), LOADED["CHARGES"])

    def close(self) -> None:
        database = self.queue.board.journal.database
        database.client.drop_database(database.name)

    # -- the chain --------------------------------------------------------------------------------

    def run(self) -> None:
        """Submit, strike link after link, and let the chain run to its end."""
        self.queue.submit(self.flow)
        wait("the chain to begin", self._begun, self._advance)
        for number, strike in enumerate(self.strikes, start=1):
            before = number - 1
            wait(f"link {number} to compute", lambda: self._computes(before) or self._done())  # noqa: B023
            if self._done():
                raise SystemExit(f"The trajectory ended before strike {number}: ask for more --steps.")
            if strike != "limit":
                time.sleep(1.0)
                link = self.running()
                self.seen.append(self.trajectory().step)
                print(f"link {number} (SLURM job {link}) is struck: {strike}", flush=True)
                STRIKES[strike](link)
            wait(f"link {number} to end", lambda: len(self.trajectory().runs) > number or self._done())  # noqa: B023
        out.print(trajectory_table([self.trajectory()], set()))
        wait("the trajectory", self._done)
        wait("the spare links to end", lambda: not self.links_there())

    def _advance(self) -> None:
        self.launcher.sync(self.study.recovery())
        self.launcher.launch()

    def _begun(self) -> bool:
        return bool(in_progress(self.folder))

    def _done(self) -> bool:
        return self.trajectory().complete

    def _computes(self, links_before: int) -> bool:
        now = self.trajectory()
        return len(now.runs) > links_before and now.step > int(now.runs[-1]["first_step"]) + 5

    def trajectory(self) -> Progress:
        return in_progress(self.folder)[0]

    def links_there(self) -> int:
        chains = self.launcher.chains
        return sum(chains.number_in(job.name) is not None for job in self.launcher.slurm.queued().values())

    def running(self) -> str:
        queued = self.launcher.slurm.queued().values()
        return next(job.job_id for job in queued if job.state.value == "RUNNING")

    # -- what became of it ------------------------------------------------------------------------

    def uncut(self) -> Path:
        """Compute the same trajectory in one piece, here; return its folder."""
        where = self.folder / "uncut"
        where.mkdir()
        (minimise,) = self.queue.jobs(name="minimise *")
        with self.study.jobstore() as outputs:
            found = outputs.get_output(minimise.uuid, load=True)
        start = begun(hold_host(LOADED["pore"](), self.plan), MontyDecoder().process_decoded(found))
        settings = self.plan.settings(self.plan.temperatures_k[0], 0)
        maker = self.md.segment("uncut", settings, TrajectoryFolder())
        os.environ |= self.environment
        pymatgen.core.SETTINGS["PMG_VASP_PSP_DIR"] = self.environment["PMG_VASP_PSP_DIR"]
        atomate2.SETTINGS.VASP_CMD = self.environment["ATOMATE2_VASP_CMD"]
        atomate2.SETTINGS.VASP_GAMMA_CMD = self.environment["ATOMATE2_VASP_GAMMA_CMD"]
        os.chdir(where)
        segment: Segment = maker.make.original(maker, start)
        return Path(segment.directory)

    def verdict(self) -> Verdict:
        """Print the table of links, and compare the trajectory with the uncut one."""
        (chain,) = chains_of(self.launcher, self.folder, None)
        show_chain(chain)
        course = self.trajectory()
        with Trajectory(course.folder / TRAJECTORY) as cut, Trajectory(self.uncut() / TRAJECTORY) as whole:
            exact = cut.steps().tolist() == list(range((course.steps or 0) + 1)) and len(cut) == len(whole)
            apart = float(np.abs(cut.positions() - whole.positions()).max()) if exact else float("nan")
        again = [seen - int(run["first_step"]) for seen, run in zip(self.seen, course.runs[1:], strict=False)]
        working = [link for link in chain.links if link.steps is not None]
        return Verdict(
            [link.gap_s for link in working if link.gap_s is not None],
            len(chain.links) - len(working),
            max([0, *again, *(link.lost_steps or 0 for link in working)]),
            exact,
            apart,
            [link.state for link in chain.links],
        )


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def strike_node(_link: str) -> None:
    node = os.uname().nodename.split(".")[0]
    run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=drill")
    time.sleep(1)
    run("scontrol", "update", f"NodeName={node}", "State=RESUME")


STRIKES: dict[str, Callable[[str], Any]] = {
    "signal": lambda link: run("scancel", "--signal=USR1", "--batch", link),
    "timeout": lambda link: run("scontrol", "update", f"JobId={link}", "EndTime=now"),
    "node": strike_node,
}


def wait(what: str, until: Callable[[], Any], act: Callable[[], Any] = lambda: None) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not until():
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        act()
        time.sleep(0.3)


def main() -> int:
    """Run the drill; the exit code tells whether the chain held."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=sorted(LEVELS), default="vasp")
    parser.add_argument("--strikes", default="signal,timeout,node")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--step-s", type=float, default=0.05, help="Least time of a step of the stand-in, s.")
    told = parser.parse_args()
    began_s = time.monotonic()
    drill = Drill(told.folder.absolute(), told.engine, told.steps, told.strikes.split(","), told.step_s)
    try:
        drill.run()
        seen = drill.verdict()
    finally:
        drill.close()
    gap_s = statistics.median(seen.gaps_s)
    print(f"{seen}\nmedian gap {gap_s:g} s, in {time.monotonic() - began_s:.0f} s")
    seamless = seen.exact and seen.apart_ang <= SAME_ANG[told.engine] and seen.lost_steps <= CHECKPOINT_EVERY
    return 0 if seamless and seen.spare and gap_s <= MOST_GAP_S else 1


if __name__ == "__main__":
    sys.exit(main())
