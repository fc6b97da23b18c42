"""The commands of SLURM: run here, read by `epilayer.launch.scheduler`."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from epilayer.launch import scheduler
from epilayer.model.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from epilayer.launch.scheduler import Accounted, Queued, Span

TIMEOUT_S = 60.0
_CHUNK = 200


class Slurm:
    """The scheduler, asked through its own commands.

    Parameters
    ----------
    timeout_s
        How long a command may take, in seconds.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s

    def submit(self, script: Path) -> str:
        """Submit a batch script; return the job's number."""
        return scheduler.parse_sbatch(*self._run(["sbatch", "--parsable", str(script)]))

    def test(self, script: Path) -> None:
        """Have the scheduler judge a batch script without queueing it; what it would refuse is raised."""
        scheduler.check_test_only(*self._run(["sbatch", "--test-only", str(script)]))

    def time_limits(self) -> dict[str, float]:
        """Return each partition's longest walltime in seconds."""
        code, out, err = self._run(["sinfo", "--noheader", "--format=%R|%l"])
        if code:
            raise self._silent("sinfo", err)
        return scheduler.parse_time_limits(out)

    def qualities(self) -> list[str]:
        """Return the names that ``--qos`` may take."""
        code, out, err = self._run(["sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=name"])
        if code:
            raise self._silent("sacctmgr", err)
        return out.split()

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; whether there was something to cancel."""
        return scheduler.parse_scancel(*self._run(["scancel", "--verbose", job_id]))

    def queued(self) -> dict[str, Queued]:
        """Return this user's jobs that wait or run."""
        code, out, err = self._run(
            ["squeue", "--me", "--noheader", "--array", f"--format={scheduler.SQUEUE_FORMAT}"]
        )
        if code:
            raise self._silent("squeue", err)
        return {job.job_id: job for job in scheduler.parse_squeue(out)}

    def accounted(self, job_ids: Iterable[str] = (), names: Iterable[str] = ()) -> dict[str, Accounted]:
        """Return what the accounting knows of jobs, by number; found by number or by name."""
        found: dict[str, Accounted] = {}
        for option, wanted in (("--jobs", sorted(set(job_ids))), ("--name", sorted(set(names)))):
            for start in range(0, len(wanted), _CHUNK):
                part = ",".join(wanted[start : start + _CHUNK])
                since = ["--starttime=now-30days"]
                code, out, err = self._run(
                    [
                        *(
                            "sacct",
                            "--noheader",
                            "--parsable2",
                            "--duplicates",
                            f"--format={scheduler.SACCT_FORMAT}",
                        ),
                        *(*since, f"{option}={part}"),
                    ]
                )
                if code:
                    raise self._silent("sacct", err)
                found |= {job.job_id: job for job in scheduler.parse_sacct(out)}
        return found

    def spans(self, name: str) -> list[Span]:
        """Return when the jobs of a name ran."""
        code, out, err = self._run(
            [
                *("sacct", "--allocations", "--noheader", "--parsable2", "--starttime=now-30days"),
                *(f"--format={scheduler.SPAN_FORMAT}", f"--name={name}"),
            ],
            SLURM_TIME_FORMAT="%s",
        )
        if code:
            raise self._silent("sacct", err)
        return scheduler.parse_spans(out)

    def known(self, job_ids: Iterable[str]) -> dict[str, Accounted]:
        """Return what the controller itself still knows of jobs that the accounting has not heard of yet."""
        found = {}
        for job_id in job_ids:
            code, out, err = self._run(["scontrol", "--oneliner", "show", "job", job_id])
            if code == 0 and out.strip():
                found[job_id] = scheduler.accounted_of(scheduler.parse_scontrol(out))
            elif "invalid job id" not in (out + err).lower():
                raise self._silent("scontrol", err)
        return found

    def allow_every_node(self, job_id: str) -> bool:
        """Take back the exclusion of nodes from a job that waits; whether the scheduler agreed."""
        code, _, _ = self._run(["scontrol", "update", f"JobId={job_id}", "ExcNodeList="])
        return code == 0

    def ask(self, command: Sequence[str]) -> tuple[int, str, str]:
        """Run any of its commands (for the doctor)."""
        return self._run(command)

    def _run(self, command: Sequence[str], **environment: str) -> tuple[int, str, str]:
        try:
            done = subprocess.run(  # noqa: S603  (commands of the scheduler, arguments as a list)
                list(command),
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
                env={**os.environ, **environment},
            )
        except FileNotFoundError as error:
            raise QueueError(
                f"There is no {command[0]} on this machine.", "Run this on a login node of the cluster."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise QueueError(
                f"{command[0]} gave no answer within {self.timeout_s:.0f} s.",
                "Nothing was concluded from that; give the command again when the scheduler answers.",
            ) from error
        return done.returncode, done.stdout, done.stderr

    @staticmethod
    def _silent(command: str, said: str) -> QueueError:
        return QueueError(
            f"{command} failed ({' '.join(said.split())[:200] or 'without a word'}).",
            "Nothing was concluded from that; give the command again when the scheduler answers.",
        )
