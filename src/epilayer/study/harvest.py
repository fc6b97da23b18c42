"""Bring the records that jobs put out into the results store."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import JobStore

    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace


def harvest(study: Workspace, queue: EmbeddedQueue | None = None) -> int:
    """Store the record of every completed job that announces one; return how many were new or changed.

    Idempotent: a record's identity is its job's, so that it may be called at any time, also after a
    run that was killed between a job's end and this step.
    """
    from epilayer.flows.base import RECORD
    from epilayer.launch.base import JobState

    # Replacing jobs inherit metadata, and `store_inputs` hands on what another job has put out.
    ended = {
        (job.uuid, job.index): (job.ended or job.created).isoformat()
        for job in (queue or study.queue()).jobs(state=JobState.COMPLETED)
        if RECORD in job.metadata and not job.function.endswith("store_inputs")
    }
    if not ended:
        return 0
    with study.jobstore() as outputs:
        return _stored(study, outputs, ended)


def harvest_store(study: Workspace, file: Path) -> int:
    """Store the records in a job store that any engine of jobflow has filled.

    Parameters
    ----------
    file
        A ``jobflow.yaml`` with ``JOB_STORE``, or the description of a JobStore alone.

    Raises
    ------
    InputError
        If the file describes no job store.
    """
    from jobflow import JobStore
    from monty.serialization import loadfn

    from epilayer.flows.base import RECORD

    try:
        told = loadfn(file)
        store = told.get("JOB_STORE", told)
        outputs = store if isinstance(store, JobStore) else JobStore.from_dict_spec(store)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} describes no job store ({type(error).__name__}: {error}).",
            "Name the jobflow.yaml by which the jobs ran (its key JOB_STORE).",
        ) from error
    with outputs:
        marked = {f"metadata.{RECORD}": {"$exists": True}}
        rows = outputs.query(marked, properties=["uuid", "index", "completed_at"])
        return _stored(study, outputs, {(row["uuid"], row["index"]): row["completed_at"] for row in rows})


def _stored(study: Workspace, outputs: JobStore, ended: dict[tuple[str, int], str]) -> int:
    """Store the records among the outputs of these jobs, which ended at these moments."""
    from monty.json import MontyDecoder

    from epilayer.model.kinds import KINDS
    from epilayer.store.records import document_of
    from epilayer.study.stored_files import write_study_checksums

    names = [kind.record.__name__ for kind in KINDS.values()]
    wanted = {"uuid": {"$in": sorted({uuid for uuid, _ in ended})}, "output.@class": {"$in": names}}
    documents: dict[str, Record] = {}
    for found in outputs.query(wanted, properties=["uuid", "index", "output"], load=True):
        created = ended.get((found["uuid"], found["index"]))
        if created is not None:
            record = MontyDecoder().process_decoded(found["output"])
            document = document_of(record, job=found["uuid"], created=created)
            # A question may have been answered twice (`--fresh`, more steps): the last answer counts.
            earlier = documents.get(document["id"])
            if earlier is None or earlier["created"] <= created:
                documents[document["id"]] = document
    if not documents:
        return 0
    with closing(study.results()) as results:
        count = results.put(documents.values())
    if count.added or count.changed:
        write_study_checksums(study, documents.values())
    return count.added + count.changed
