"""Bring the records that jobs put out into the results store."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace


def harvest(study: Workspace, queue: EmbeddedQueue | None = None) -> int:
    """Store the record of every completed job that announces one; return how many were new or changed.

    Idempotent: a record's identity is its job's, so that it may be called at any time, also after a
    run that was killed between a job's end and this step.
    """
    from monty.json import MontyDecoder

    from epilayer.flows.base import RECORD
    from epilayer.launch.base import JobState
    from epilayer.model.kinds import KINDS
    from epilayer.store.records import document_of
    from epilayer.study.stored_files import write_study_checksums

    # Replacing jobs inherit metadata, and `store_inputs` hands on what another job has put out.
    made = {
        (job.uuid, job.index): job
        for job in (queue or study.queue()).jobs(state=JobState.COMPLETED)
        if RECORD in job.metadata and not job.function.endswith("store_inputs")
    }
    if not made:
        return 0
    names = [kind.record.__name__ for kind in KINDS.values()]
    wanted = {"uuid": {"$in": sorted({uuid for uuid, _ in made})}, "output.@class": {"$in": names}}
    documents: dict[str, Record] = {}
    with study.jobstore() as outputs:
        for found in outputs.query(wanted, properties=["uuid", "index", "output"], load=True):
            job = made.get((found["uuid"], found["index"]))
            if job is not None:
                record = MontyDecoder().process_decoded(found["output"])
                ended = (job.ended or job.created).isoformat()
                document = document_of(record, job=job.uuid, created=ended)
                # A question may have been answered twice (`--fresh`, more steps): the last answer counts.
                earlier = documents.get(document["id"])
                if earlier is None or earlier["created"] <= ended:
                    documents[document["id"]] = document
    with closing(study.results()) as results:
        count = results.put(documents.values())
    if count.added or count.changed:
        write_study_checksums(study, documents.values())
    return count.added + count.changed
