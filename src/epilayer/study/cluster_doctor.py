"""``epilayer cluster doctor``: what a job will meet on the cluster, asked before a job meets it."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

from epilayer.model.cluster import walltime_text
from epilayer.model.errors import EpilayerError, InputError
from epilayer.model.files import write_atomic
from epilayer.study.cluster import program_in, prove_locks
from epilayer.study.doctor import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster, Resources
    from epilayer.study.workspace import Workspace

_ANSWER_WITHIN_S = 120.0
_NODE_WITHIN_S = 20
_LEAST_FREE_GB = 1.0
_MOST_SKEW_S = 60.0
_PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun")
# What the preamble's own commands return, then what they leave behind; an @ marks our own lines.
_PROBE = """\
#!/bin/bash
trap 'echo "@failed $LINENO $? $BASH_COMMAND"' ERR
. {preamble}
trap - ERR
echo "@end of the preamble" >&2
scratch=${{SCRATCH:-${{TMPDIR:-/tmp}}}}
echo "@node $(hostname)"
echo "@clock $(date +%s)"
free_kb=$(df -Pk "$scratch" | awk 'NR == 2 {{print $4}}')
if [ -w "$scratch" ]; then writable=yes; else writable=no; fi
echo "@scratch $free_kb $writable $scratch"
echo "@doctor"
{program} doctor --json
"""


def checks(study: Workspace, cluster: Cluster, *, pilots: bool) -> Iterator[Check]:
    """Yield what was checked: its name, whether it is well, what was found, and how to correct it.

    Parameters
    ----------
    study
        The study.
    cluster
        The profile that its jobs, or its pilots, use.
    pilots
        Whether pilots shall work on the embedded queue: locks count then, and no database.
    """
    from epilayer.launch.slurm import Slurm

    for program in _PROGRAMS:
        found = shutil.which(program)
        if not found:
            yield Check(program, False, "not found", "Run this on a login node of the cluster.")
            return
    yield Check("SLURM's commands", True, ", ".join(_PROGRAMS), "")
    slurm = Slurm(timeout_s=_ANSWER_WITHIN_S)
    yield _answer(
        "scheduler", slurm, ["scontrol", "ping"], "Ask the cluster's operators: the controller is down."
    )
    yield _answer("accounting", slurm, ["sacct", "-n", "-X"], "Ask the operators: slurmdbd does not answer.")
    study.runs.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(study.runs).free / 1e9
    yield Check(
        "runs folder",
        free_gb > _LEAST_FREE_GB,
        f"{free_gb:.0f} GB free at {study.runs}",
        "Free at least 1 GB.",
    )
    yield _locks(study, slurm) if pilots else _database(study)
    try:
        template, preamble = study.batch_text("job.sh.j2"), study.batch_text(cluster.preamble)
    except EpilayerError as error:
        yield Check("slurm/", False, error.what, error.remedy)
        return
    yield from _accepted(study, cluster, slurm, template, preamble)
    yield from _after_preamble(study, cluster, slurm, preamble)


def _accepted(
    study: Workspace, cluster: Cluster, slurm: Slurm, template: str, preamble: str
) -> Iterator[Check]:
    """Have the scheduler test, and not queue, a script for each size of job in the profile."""
    from epilayer.launch import batch

    sizes = {"any job": cluster.resources}
    sizes |= {
        f"{rule.jobs} from {rule.atoms_from} atoms": cluster.resources.overlaid(rule.resources)
        for rule in cluster.rules
    }
    if cluster.pilot.model_fields_set:
        sizes["pilots"] = cluster.resources.overlaid(cluster.pilot)
    folder = study.runs / "batch"
    limits_s = slurm.time_limits()
    tested = 0
    for what, asked in sizes.items():
        title = f"accepted: {what}"
        try:
            batch.check_fits(cluster, asked, what)
            _check_allowed(asked, limits_s, slurm)
            text = batch.render(
                template,
                title="a test of the doctor's",
                works_on="nothing",
                options=batch.options(asked, "epilayer-doctor", folder, cluster.signal_ahead_s),
                preamble=preamble,
                preamble_name=cluster.preamble,
                signal_ahead_s=cluster.signal_ahead_s,
                command="true",
            )
            slurm.test(write_atomic(folder / "doctor.sh", text))
        except EpilayerError as error:
            yield Check(title, False, f"{_asked(asked)}: {error.what}", error.remedy)
        else:
            tested += 1
    if tested:
        where = cluster.resources.partition or "the default partition"
        yield Check("partition, account, limits", True, f"{tested} sizes of job accepted, {where}", "")


def _check_allowed(asked: Resources, limits_s: dict[str, float], slurm: Slurm) -> None:
    """Refuse what the scheduler takes and then lets wait for ever, or takes where its checks are lax."""
    most_s = limits_s.get(asked.partition or "", math.inf)
    if asked.walltime is not None and asked.walltime > most_s:
        raise InputError(
            f"walltime {walltime_text(asked.walltime)} is over the {walltime_text(round(most_s))} of"
            f" partition {asked.partition!r}",
            "Ask for less, or name a longer partition, in the cluster's YAML: it would wait for ever.",
        )
    if asked.qos is not None and asked.qos not in (known := slurm.qualities()):
        raise InputError(
            f"there is no qos {asked.qos!r}", f"Name one of {', '.join(known)} in the cluster's YAML (qos)."
        )


def _asked(resources: Resources) -> str:
    stated = resources.model_dump(exclude_unset=True, exclude_none=True)
    return ", ".join(f"{key} {value}" for key, value in stated.items() if key != "extra") or "nothing stated"


def _after_preamble(study: Workspace, cluster: Cluster, slurm: Slurm, preamble: str) -> Iterator[Check]:
    """Say what the preamble does, and what epilayer finds after it, on a compute node if one is free."""
    folder = study.runs / "batch"
    own = write_atomic(folder / "doctor-preamble.sh", preamble)
    probe = write_atomic(
        folder / "doctor.sh",
        _PROBE.format(preamble=shlex.quote(str(own)), program=program_in(study, cluster)),
    )
    began_s = time.time()
    stdout, stderr, note = _run_probe(cluster, slurm, probe)
    before, _, answer = stdout.partition("@doctor\n")
    facts = dict(
        line[1:].split(" ", 1) for line in before.splitlines() if line.startswith("@") and " " in line
    )
    where = facts.get("node", "this machine")
    fix = f"Correct slurm/{cluster.preamble}; try its lines by hand on a compute node (srun --pty bash)."
    title = f"preamble {cluster.preamble}"
    complained = _last(stderr.partition("@end of the preamble")[0])
    if "failed" in facts:
        line, code, command = facts["failed"].split(" ", 2)
        yield Check(
            title, False, f"line {line}: {command!r} ended with {code} on {where} ({complained})", fix
        )
    elif "node" not in facts:
        yield Check(title, False, f"does not run to its end ({complained})", fix)
        return
    else:
        yield Check(title, True, f"runs on {where}{note}", "")
    yield _clock(facts, where, began_s)
    yield _scratch(facts, where)
    yield from _epilayer_there(cluster, where, answer, stderr, fix)


def _run_probe(cluster: Cluster, slurm: Slurm, probe: Path) -> tuple[str, str, str]:
    """Run it on a compute node, or here where none is free; return its two outputs, and a note."""
    asked = cluster.resources
    options = {"partition": asked.partition, "account": asked.account, "qos": asked.qos}
    node = [f"--{key}={value}" for key, value in options.items() if value]
    command = ["srun", "--quiet", "--ntasks=1", "--time=5", f"--immediate={_NODE_WITHIN_S}", *node]
    try:
        code, _, _ = slurm.ask([*command, "true"])
        if code == 0:
            _, stdout, stderr = slurm.ask([*command, "bash", str(probe)])
            return stdout, stderr, ""
    except EpilayerError:
        pass  # no answer in time counts as no free node
    done = subprocess.run(  # noqa: S603  (our own script)
        ["/bin/bash", str(probe)], capture_output=True, text=True, check=False, timeout=_ANSWER_WITHIN_S
    )
    return done.stdout, done.stderr, f" (no compute node was free within {_NODE_WITHIN_S} s)"


def _clock(facts: dict[str, str], where: str, began_s: float) -> Check:
    there_s = float(facts.get("clock", "0"))  # read somewhere between the beginning and now
    skew_s = max(0.0, began_s - there_s - 1, there_s - time.time())
    fix = "Ask the operators to set the clock (NTP): times in reports would mislead."
    return Check("clock", skew_s < _MOST_SKEW_S, f"{where} and this machine differ by {skew_s:.0f} s", fix)


def _scratch(facts: dict[str, str], where: str) -> Check:
    free, writable, folder = [*facts.get("scratch", "0 no nothing").split(" ", 2)][:3]
    free_gb = float(free or 0) * 1024 / 1e9
    well = writable == "yes" and free_gb > _LEAST_FREE_GB
    found = f"{free_gb:.0f} GB free at {folder} on {where}" + ("" if writable == "yes" else ", not writable")
    return Check("scratch", well, found, "Set SCRATCH or TMPDIR in the preamble to a folder with space.")


def _epilayer_there(cluster: Cluster, where: str, answer: str, stderr: str, fix: str) -> Iterator[Check]:
    """Yield what the doctor of a job's own environment says of VASP, LOBSTER and POTCARs."""
    from epilayer import __version__

    try:
        rows: list[dict[str, Any]] = json.loads(answer)
    except ValueError:
        yield Check("epilayer after the preamble", False, f"does not run on {where} ({_last(stderr)})", fix)
        return
    yield Check(
        "epilayer after the preamble", True, f"{__version__} runs on {where} as {cluster.epilayer!r}", ""
    )
    for row in rows:
        if row["check"].startswith(("engine vasp", "LOBSTER")):
            yield Check(f"{row['check']}, on {where}", row["ok"], row["found"], row["fix"])


def _last(stdout: str) -> str:
    """Return the last line that is not the scheduler's own."""
    lines = [line.strip() for line in stdout.splitlines() if line.strip() and not line.startswith("srun: ")]
    return lines[-1] if lines else "no message"


def _locks(study: Workspace, slurm: Slurm) -> Check:
    study.state.mkdir(parents=True, exist_ok=True)
    try:
        return Check("file locks", True, prove_locks(study.state, slurm), "")
    except EpilayerError as error:
        return Check("file locks", False, error.what, error.remedy)


def _answer(title: str, slurm: Slurm, command: Sequence[str], fix: str) -> Check:
    try:
        code, stdout, stderr = slurm.ask(command)
    except EpilayerError as error:
        return Check(title, False, error.what, error.remedy)
    first = ((stdout or stderr).strip().splitlines() or ["answers"])[0]
    return Check(title, code == 0, first[:80] if code or title == "scheduler" else "answers", fix)


def _database(study: Workspace) -> Check:
    from epilayer.store.addresses import without_password

    try:
        queue = study.cluster_queue(patience_s=3.0)
        database = queue.board.journal.database
        there = database.client.admin.command("hello")["localTime"].timestamp()
    except EpilayerError as error:
        return Check("database", False, error.what, error.remedy)
    skew_s = abs(there - _utc_s())
    note = f"{without_password(queue.uri)} answers; clocks differ by {skew_s:.0f} s"
    return Check(
        "database",
        skew_s < _MOST_SKEW_S,
        note,
        "Set the clock (NTP): times in reports would mislead.",
    )


def _utc_s() -> float:
    from datetime import UTC, datetime

    return datetime.now(tz=UTC).replace(tzinfo=None).timestamp()
