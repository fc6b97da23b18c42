"""Failed jobs come back by themselves, by a policy for the class of their failure.

Every step is written down in the transaction in which it takes effect (the table ``verdicts``), counted per
job and class, and can be undone like any rerun. A rerun may ask for other resources (the table ``wishes``);
those of an undone rerun count no more.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from epilayer.launch import reruns, transitions
from epilayer.launch.base import JobState, Outcome
from epilayer.model.cluster import Action, Resources, walltime_text
from epilayer.model.failure import Failure

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from epilayer.launch.base import RerunReport
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.model.cluster import Recovery

_LEAST_MEMORY_MB, _LEAST_WALLTIME_S = 2048, 3600


@dataclass(frozen=True, slots=True)
class Case:
    """A failed job whose failure has no class yet."""

    job: int
    name: str
    attempt: int
    """Number of the last attempt; 0 where it never began."""
    cause: str | None
    failure: Failure | None
    outcome: Outcome | None
    token: str | None
    """The worker that had it."""


def unjudged(db: sqlite3.Connection) -> list[Case]:
    """Return the failed jobs whose last attempt has not been judged."""
    rows = db.execute(
        "SELECT j.id, j.name, j.attempts, j.cause, j.failure, a.outcome, a.worker FROM jobs j"
        " LEFT JOIN attempts a ON a.job = j.id AND a.number = j.attempts WHERE j.state = ?"
        " AND NOT EXISTS (SELECT 1 FROM verdicts v LEFT JOIN reruns r ON r.id = v.rerun"
        "   WHERE v.job = j.id AND v.attempt = j.attempts AND v.why = j.cause"
        "   AND (v.rerun IS NULL OR r.undone IS NOT NULL))",
        (JobState.FAILED,),
    ).fetchall()
    return [
        Case(
            row["id"],
            row["name"],
            row["attempts"],
            row["cause"],
            Failure.model_validate_json(row["failure"]) if row["failure"] else None,
            None if row["outcome"] is None else Outcome(row["outcome"]),
            row["worker"],
        )
        for row in rows
    ]


def rerun_with(
    queue: EmbeddedQueue, jobs: Sequence[int], wish: Mapping[str, Any], *, force: bool
) -> RerunReport:
    """Rerun jobs and ask for other resources, in one transaction."""
    with queue.claims.file.writing() as db:
        report = queue.rerun(jobs, force=force)
        if report.id is not None:
            for job in (*report.jobs, *report.descendants) if wish else ():
                add_wish(db, job, report.id, wish)
    return report


def wish_of(db: sqlite3.Connection, job: int) -> dict[str, Any]:
    """Return the resources that reruns asked for, the last on top; without those that were undone."""
    wish: dict[str, Any] = {}
    for row in db.execute(
        "SELECT resources FROM wishes w JOIN reruns r ON r.id = w.rerun"
        " WHERE job = ? AND r.undone IS NULL ORDER BY w.id",
        (job,),
    ):
        wish |= json.loads(row["resources"])
    return wish


def add_wish(db: sqlite3.Connection, job: int, rerun: int, wish: Mapping[str, Any]) -> None:
    """Write down what a rerun asks for."""
    db.execute(
        "INSERT INTO wishes (job, rerun, resources) VALUES (?, ?, ?)", (job, rerun, json.dumps(dict(wish)))
    )


def judge(
    queue: EmbeddedQueue,
    case: Case,
    failure: Failure,
    policies: Recovery,
    planned: Resources,
    node: str,
) -> str:
    """Write down the class of a failure, and rerun the job if the policy says so.

    Parameters
    ----------
    queue
        The queue.
    case, failure
        The job and why it failed.
    policies
        What to do about each class.
    planned
        What the cluster's profile gives the job.
    node
        Where it ran.

    Returns
    -------
    str
        What was done, in words.
    """
    policy = policies.policies[failure.kind]
    with queue.claims.file.writing() as db:
        now = transitions.select(db, "state, attempts", [case.job])[0]
        if now["state"] != JobState.FAILED or now["attempts"] != case.attempt:
            return "it has changed meanwhile"
        before = db.execute(
            "SELECT count(*) FROM verdicts v JOIN reruns r ON r.id = v.rerun"
            " WHERE v.job = ? AND v.class = ? AND r.undone IS NULL",
            (case.job, failure.kind),
        ).fetchone()[0]
        wish = wish_of(db, case.job)
        change = wanted(policy.action, policy.factor, planned.overlaid(Resources.model_validate(wish)), node)
        again = policy.action is not Action.NEVER and before < policy.at_most
        # What the scheduler saw may explain what the job itself could not.
        db.execute("UPDATE jobs SET failure = ? WHERE id = ?", (failure.model_dump_json(), case.job))
        rerun = reruns.rerun(db, [case.job], force=False).id if again else None
        if rerun is not None and change:
            add_wish(db, case.job, rerun, change)
        words = _words(policy.action, change) if again else "waits for a person"
        if policy.action is not Action.NEVER and not again:
            words = f"waits for a person: {before} times {policy.action.value} did not help"
        db.execute(
            "INSERT INTO verdicts (job, attempt, class, why, action, rerun, created) VALUES (?,?,?,?,?,?,?)",
            (case.job, case.attempt, failure.kind, case.cause or "", words, rerun, time.time()),
        )
    return words


def wanted(action: Action, factor: float, planned: Resources, node: str) -> dict[str, Any]:
    """Return the resources that an action asks for."""
    match action:
        case Action.MORE_TIME:
            return {"walltime": round((planned.walltime or _LEAST_WALLTIME_S) * factor)}
        case Action.MORE_MEMORY:
            return {"memory": round((planned.memory or _LEAST_MEMORY_MB) * factor)}
        case Action.OTHER_NODE:
            return {"exclude": node} if node and "[" not in node and "," not in node else {}
        case Action.RESUME | Action.OTHER_ALGORITHM | Action.SMALLER_STEP | Action.NEVER:
            return {}
        case _:
            assert_never(action)


def _words(action: Action, change: Mapping[str, Any]) -> str:
    if "walltime" in change:
        return f"runs again with walltime {walltime_text(change['walltime'])}"
    if "memory" in change:
        return f"runs again with memory {change['memory']} MB"
    if "exclude" in change:
        return f"runs again, not on {change['exclude']}"
    if action in (Action.OTHER_ALGORITHM, Action.SMALLER_STEP):
        return f"runs again ({action.value.replace('_', ' ')})"
    return "runs again" if action is not Action.NEVER else "waits for a person"
