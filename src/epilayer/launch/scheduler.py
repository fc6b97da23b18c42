"""What SLURM prints, read by pure functions: text in, values out. A state that is not known is refused.

Covers SLURM 20.11 to 25.05: ``sbatch --parsable`` and plain, ``squeue`` and ``sacct`` in the formats asked
for here, ``scontrol show job``, ``scancel``. States: https://slurm.schedmd.com/job_state_codes.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from epilayer.model.cluster import seconds
from epilayer.model.errors import QueueError


class SchedulerState(StrEnum):
    """Every state, and every flag shown as one, that SLURM prints for a job."""

    BOOT_FAIL = "BOOT_FAIL"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    COMPLETING = "COMPLETING"
    CONFIGURING = "CONFIGURING"
    DEADLINE = "DEADLINE"
    EXPEDITING = "EXPEDITING"
    FAILED = "FAILED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    NODE_FAIL = "NODE_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    PENDING = "PENDING"
    POWER_UP_NODE = "POWER_UP_NODE"
    PREEMPTED = "PREEMPTED"
    RECONFIG_FAIL = "RECONFIG_FAIL"
    REQUEUED = "REQUEUED"
    REQUEUE_FED = "REQUEUE_FED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    RESIZING = "RESIZING"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    REVOKED = "REVOKED"
    RUNNING = "RUNNING"
    SIGNALING = "SIGNALING"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    STAGE_OUT = "STAGE_OUT"
    STOPPED = "STOPPED"
    SUSPENDED = "SUSPENDED"
    TIMEOUT = "TIMEOUT"
    UPDATE_DB = "UPDATE_DB"

    @property
    def over(self) -> bool:
        """Whether nothing of the job runs any more, or will."""
        return self in _OVER


_OVER = frozenset({
    SchedulerState.BOOT_FAIL, SchedulerState.CANCELLED, SchedulerState.COMPLETED, SchedulerState.DEADLINE,
    SchedulerState.FAILED, SchedulerState.LAUNCH_FAILED, SchedulerState.NODE_FAIL,
    SchedulerState.OUT_OF_MEMORY, SchedulerState.PREEMPTED, SchedulerState.RECONFIG_FAIL,
    SchedulerState.REVOKED, SchedulerState.TIMEOUT,
})  # fmt: skip
_PUT_BACK = frozenset({
    SchedulerState.REQUEUED, SchedulerState.REQUEUE_FED, SchedulerState.REQUEUE_HOLD,
    SchedulerState.SPECIAL_EXIT,
})  # fmt: skip
_COMPACT = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "CF": "CONFIGURING", "CG": "COMPLETING",
    "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL", "OOM": "OUT_OF_MEMORY", "PD": "PENDING",
    "PR": "PREEMPTED", "R": "RUNNING", "RD": "RESV_DEL_HOLD", "RF": "REQUEUE_FED", "RH": "REQUEUE_HOLD",
    "RQ": "REQUEUED", "RS": "RESIZING", "RV": "REVOKED", "SI": "SIGNALING", "SE": "SPECIAL_EXIT",
    "SO": "STAGE_OUT", "ST": "STOPPED", "S": "SUSPENDED", "TO": "TIMEOUT",
}  # fmt: skip

SACCT_FORMAT = "JobIDRaw,JobName%250,State%40,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList"
SQUEUE_FORMAT = "%i|%T|%r|%j"
SPAN_FORMAT = "JobIDRaw,State%40,Start,End"
"""Of ``sacct`` with ``SLURM_TIME_FORMAT=%s``: times in seconds since the epoch."""
_NO_TIME = ("Unknown", "None")
_SACCT_FIELDS = len(SACCT_FORMAT.split(","))
_JOB_ID = re.compile(r"(\d+)(?:_(?:\d+|\[[^\]]*\]))?(?:\+\d+)?")
_SUBMITTED = re.compile(r"(?:submitted batch job|granted job allocation) (\d+)", re.IGNORECASE)
_PARSABLE = re.compile(r"(\d+)(?:;\S+)?")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job, as accounted for."""

    name: str
    """``batch``, ``extern``, ``0``, ..."""
    state: SchedulerState
    exit_code: int
    signal: int


@dataclass(frozen=True, slots=True)
class Accounted:
    """A job as ``sacct`` tells of it."""

    job_id: str
    name: str
    state: SchedulerState
    exit_code: int
    signal: int
    by: str = ""
    """User id of who cancelled it."""
    nodes: str = ""
    steps: tuple[Step, ...] = ()
    first_end: SchedulerState | None = None
    """How its first run ended, where the scheduler has put it back to run again."""

    @property
    def without_its_node(self) -> bool:
        """Whether the scheduler speaks of a node that did not answer: the job may still run there."""
        return SchedulerState.NODE_FAIL in (self.first_end, self.state)


@dataclass(frozen=True, slots=True)
class Queued:
    """A job as ``squeue`` tells of it."""

    job_id: str
    name: str
    state: SchedulerState
    reason: str

    @property
    def can_never_start(self) -> bool:
        """Whether it waits for what no waiting brings: it asks for more than it may have."""
        return self.state is SchedulerState.PENDING and bool(_NEVER.fullmatch(self.reason))


# Of the reasons in https://slurm.schedmd.com/job_reason_codes.html those that time alone does not remove.
_NEVER = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed"
    r"|QOSNotAllowed|DependencyNeverSatisfied"
    r"|(Assoc|QOS)Max(WallDurationPerJob|CpuPerJob|NodePerJob|MemoryPerJob|MemPerJob|GRESPerJob)(Limit)?"
)


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran, in seconds since the epoch; ``None`` where it has not begun, or not ended."""

    job_id: str
    state: SchedulerState
    start_s: float | None
    end_s: float | None


@dataclass(slots=True)
class _Open:
    row: Accounted
    steps: list[Step] = field(default_factory=list)
    first_end: SchedulerState | None = None


def parse_state(text: str) -> tuple[SchedulerState, str]:
    """Read a state, long or compact, and who cancelled the job.

    >>> parse_state("CANCELLED by 1000")
    (<SchedulerState.CANCELLED: 'CANCELLED'>, '1000')

    Raises
    ------
    QueueError
        On a state that is not known.
    """
    word, _, rest = text.strip().partition(" ")
    name = _COMPACT.get(word, word).rstrip("+")
    try:
        return SchedulerState(name), rest.removeprefix("by ").strip()
    except ValueError:
        raise QueueError(
            f"SLURM tells of a state {text!r}, which is not known here.",
            "Nothing was changed. Update epilayer, or report the state with the version of SLURM.",
        ) from None


def parse_sbatch(exit_code: int, stdout: str, stderr: str) -> str:
    """Return the job's number from what ``sbatch`` (or ``salloc``) said.

    Raises
    ------
    QueueError
        If the job was not submitted, with the scheduler's reason.
    """
    if exit_code == 0:
        found = _SUBMITTED.search(stdout)
        lines = [_PARSABLE.fullmatch(line.strip()) for line in stdout.splitlines()]
        plain = next((line for line in lines if line), None)
        if found or plain:
            return str((found or plain)[1])  # type: ignore[index]  # one of them is there
        raise QueueError(
            f"sbatch succeeded but named no job ({_brief(stdout, stderr)}).",
            "Look for the job in squeue; epilayer cluster sync finds it by its name.",
        )
    raise _refused(stdout, stderr)


def check_test_only(exit_code: int, stdout: str, stderr: str) -> None:
    """Read what ``sbatch --test-only`` said.

    Raises
    ------
    QueueError
        If such a job would be refused, with the scheduler's reason.
    """
    if exit_code:
        raise _refused(stdout, stderr)


def parse_time_limits(text: str) -> dict[str, float]:
    r"""Read ``sinfo --noheader --format=%R|%l``: each partition's longest walltime, in seconds.

    >>> parse_time_limits("debug|2:00:00\nlong|14-00:00:00\nfree|infinite\n")
    {'debug': 7200.0, 'long': 1209600.0, 'free': inf}
    """
    found: dict[str, float] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        partition, _, limit = line.partition("|")
        try:
            found[partition] = math.inf if limit in {"infinite", "n/a"} else float(seconds(limit))
        except ValueError:
            raise _unreadable("sinfo", line) from None
    return found


def _refused(stdout: str, stderr: str) -> QueueError:
    return QueueError(f"The scheduler refused the job ({_brief(stderr, stdout)}).", _remedy(stderr))


_AT_THE_LIMIT = "Lower most_queued in the cluster's YAML, or wait: the limit of your group is reached."
_REMEDIES = (  # the first that fits: a refusal names several things, the last of them in general
    ("submit limit", _AT_THE_LIMIT),
    ("qosmax", _AT_THE_LIMIT),
    (
        "account",
        "Name one of yours, and its partitions, in the cluster's YAML (sacctmgr show assoc user=$USER).",
    ),
    ("partition", "Name one that sinfo lists, in the cluster's YAML (resources: partition)."),
    ("qos", "Name one of yours (sacctmgr show assoc user=$USER format=qos) in the cluster's YAML."),
    ("time limit", "Ask for less time in the cluster's YAML (walltime), or name a longer partition."),
    ("node configuration", "Ask for less than a node has (memory, tasks, nodes) in the cluster's YAML."),
    ("memory", "Ask for less memory in the cluster's YAML."),
    ("unable to contact", "Wait for the scheduler to answer (scontrol ping), then give the command again."),
    ("timed out", "Wait for the scheduler to answer (scontrol ping), then give the command again."),
    ("no space", "Free space in the folder of the batch scripts."),
)


def _remedy(text: str) -> str:
    lower = text.lower()
    return next(
        (remedy for mark, remedy in _REMEDIES if mark in lower),
        "Try the script by hand: epilayer cluster launch --dry-run prints it.",
    )


def parse_squeue(text: str) -> list[Queued]:
    """Read ``squeue --noheader --format=SQUEUE_FORMAT``; array jobs count once an element."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = line.strip().split("|", 3)
        if len(parts) != len(SQUEUE_FORMAT.split("|")):
            raise _unreadable("squeue", line)
        state, _ = parse_state(parts[1])
        found.append(Queued(_job_id(parts[0], "squeue"), parts[3], state, parts[2]))
    return found


def parse_sacct(text: str) -> list[Accounted]:
    """Read ``sacct --noheader --parsable2 --duplicates --format=SACCT_FORMAT``, the steps with their job.

    A job that was requeued is told of once a run; the last counts, and how the first ended is kept.
    """
    jobs: dict[str, _Open] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = line.rstrip("\n").split("|")
        if len(parts) < _SACCT_FIELDS:
            raise _unreadable("sacct", line)
        # A job's name may hold the separator; the fields after it are counted from the end.
        rest = parts[-(_SACCT_FIELDS - 2) :]
        name = "|".join(parts[1 : -(_SACCT_FIELDS - 2)])
        state, by = parse_state(rest[0])
        code, signal = _exit_code(rest[1], line)
        whole, dot, step = parts[0].partition(".")
        number = _job_id(whole, "sacct")
        if dot:
            if number in jobs:
                jobs[number].steps.append(Step(step, state, code, signal))
            continue
        before, nodes = jobs.get(number), "" if rest[6] == "None assigned" else rest[6]
        first_end = before.first_end if before else None
        if before and first_end is None and (before.row.state.over or before.row.state in _PUT_BACK):
            first_end = before.row.state
        if before and first_end:
            nodes = before.row.nodes  # where the run was that is told of
        jobs[number] = _Open(Accounted(number, name, state, code, signal, by, nodes), first_end=first_end)
    return [
        replace(found.row, steps=tuple(found.steps), first_end=found.first_end) for found in jobs.values()
    ]


def parse_spans(text: str) -> list[Span]:
    """Read ``sacct --allocations --noheader --parsable2 --format=SPAN_FORMAT``.

    >>> parse_spans("7|TIMEOUT|1790000000|1790000060")[0].end_s
    1790000060.0
    """
    found = []
    for line in filter(str.strip, text.splitlines()):
        parts = line.strip().split("|")
        if len(parts) != len(SPAN_FORMAT.split(",")):
            raise _unreadable("sacct", line)
        state, _ = parse_state(parts[1])
        times = [float(part) if part.isdigit() else None for part in parts[2:]]
        if any(part not in _NO_TIME and not part.isdigit() for part in parts[2:]):
            raise _unreadable("sacct", line)
        found.append(Span(_job_id(parts[0], "sacct"), state, times[0], times[1]))
    return found


def parse_scontrol(text: str) -> dict[str, str]:
    """Read ``scontrol --oneliner show job N``, or the same on many lines; values may hold blanks."""
    found: dict[str, str] = {}
    starts = list(re.finditer(r"(?:^|\s)([A-Za-z][\w:/.&-]*)=", text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    for this, end in zip(starts, ends, strict=False):  # no start, one end
        found.setdefault(this[1], text[this.end() : end].strip())
    if "JobId" not in found or "JobState" not in found:
        raise _unreadable("scontrol", text[:80])
    parse_state(found["JobState"])
    return found


def accounted_of(fields: dict[str, str]) -> Accounted:
    """Return what the controller knows of a job in the form of the accounting; it has no steps."""
    state, _ = parse_state(fields["JobState"])
    code, signal = _exit_code(fields.get("ExitCode", "0:0"), fields["JobId"])
    nodes = fields.get("NodeList", "")
    return Accounted(
        fields["JobId"],
        fields.get("JobName", ""),
        state,
        code,
        signal,
        nodes="" if nodes == "(null)" else nodes,
        first_end=None if fields.get("Restarts", "0") == "0" else SchedulerState.REQUEUED,
    )


def parse_scancel(exit_code: int, stdout: str, stderr: str) -> bool:
    """Whether ``scancel --verbose`` took effect, or the job was over already.

    Raises
    ------
    QueueError
        If it was refused.
    """
    said = f"{stdout}\n{stderr}".lower()
    if exit_code == 0 or "already completing or completed" in said or "invalid job id specified" in said:
        return "terminating job" in said and "error" not in said
    raise QueueError(f"scancel was refused ({_brief(stderr, stdout)}).", "Cancel it as the user who owns it.")


def _job_id(text: str, source: str) -> str:
    found = _JOB_ID.fullmatch(text.strip())
    if found is None:
        raise _unreadable(source, text)
    return found[0] if "_" in text or "+" in text else found[1]


def _exit_code(text: str, line: str) -> tuple[int, int]:
    if not text:  # a step whose end is being written down (seen in 22.05)
        return 0, 0
    code, _, signal = text.partition(":")
    if not code.isdigit() or not (signal or "0").isdigit():
        raise _unreadable("sacct", line)
    return int(code), int(signal or 0)


def _unreadable(source: str, line: str) -> QueueError:
    return QueueError(
        f"{source} printed a line that cannot be read: {line.strip()[:120]!r}.",
        "Nothing was changed. Report it with the version of SLURM.",
    )


def _brief(first: str, second: str) -> str:
    lines = [line.split("error: ")[-1].strip() for line in (first or second).splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))[:300] or "it said nothing"
