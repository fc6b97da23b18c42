"""What a report of a study is made of: its records beside the published values, and what is behind them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from epilayer.study.outputs import calculations
from epilayer.study.records import found_by_kind, sources, stored

if TYPE_CHECKING:
    from epilayer.model.ion_transport import IonTransport, PairShell
    from epilayer.model.reference import Reference
    from epilayer.report.content import ReportContent
    from epilayer.study.workspace import Workspace

_LEAST_SHARE = 0.1


def report_of(study: Workspace, *, drawn: bool = True) -> ReportContent:
    """Return what a report of the study shows.

    Parameters
    ----------
    drawn
        Whether it is drawn, too: then it has the calculations behind the adsorption energies.
    """
    from epilayer.model.kinds import KINDS
    from epilayer.report.citations import entries_by_doi
    from epilayer.report.content import ReportContent

    found = found_by_kind(stored(study, [name for name, kind in KINDS.items() if kind.reported]))
    records = [one.record for group in found.values() for one in group]
    legs = (leg for one in found.get("adsorption", ()) for leg in one.record.legs)
    behind = {leg.provenance.job for leg in legs if leg.provenance.job} if drawn else ()
    return ReportContent(
        found,
        study.catalogue.reference(study.settings.reference),
        calculations=list(calculations(study, behind).values()),
        sources=sources(study, records),
        bibliography=entries_by_doi(study.citations()),
    )


def transport_rows(study: Workspace, flow: str | None = None) -> list[dict[str, Any]]:
    """Return one row a transport record of the study, or of one of its flows."""
    from epilayer.store.records import record_of

    if study.results_address == study.results_file and not study.results_file.exists():
        return []
    with closing(study.results()) as results:
        if "transport" not in results.kinds():
            return []
        found = results.query("transport", sort="created", body=True)
    jobs = None if flow is None else {job.uuid for job in study.queue().jobs(flow=flow)}
    reference = study.catalogue.reference(study.settings.reference)
    return [
        _transport_row(record_of(document), reference)
        for document in found
        if jobs is None or document["fields"]["job"] in jobs
    ]


def _transport_row(record: IonTransport, reference: Reference) -> dict[str, Any]:
    mof = record.system.split(" ", 1)[0]

    def paper(column: str) -> str | None:
        said = reference.transport_of(mof, column)
        return said.said if said else None

    estimate, solvation = record.report.of(record.cation), record.solvation
    oxygen: PairShell | None = next((s for s in solvation.shells if s.partner == "all O"), None)
    row = {
        "system": record.system,
        "atoms": record.atoms,
        "level": record.level.label,
        "stand_in": record.level.stand_in,
        "temperature_k": record.temperature_k,
        "mean_temperature_k": record.mean_temperature_k,
        "steps": record.steps,
        "frames": record.frames,
        "equilibration_steps": record.equilibration_steps,
        "time_step_fs": record.settings.time_step_fs,
        "segments": len(record.segments),
        "replicas": len(record.seeds),
        "moves": record.moves,
        "cation": record.cation,
        "verdict": record.statement,
        "diffusion_cm2_per_s": estimate.diffusion_cm2_per_s,
        "lower_cm2_per_s": estimate.lower_cm2_per_s,
        "upper_cm2_per_s": estimate.upper_cm2_per_s,
        "ion_ps": estimate.ion_ps,
        "ion_ps_needed": estimate.ion_ps_needed,
        "ranking": [c.said for c in record.report.faster],
        "transference": [t.model_dump(mode="json") for t in record.report.transference],
        "first_peak_ang": oxygen.first_peak_ang if oxygen else None,
        "coordination": oxygen.coordination if oxygen else None,
        "shell_cutoff_ang": solvation.cutoff_ang,
        "mean_neighbours": {k: v for k, v in solvation.mean.items() if v >= _LEAST_SHARE},
        "share_with_anion_and_chain": solvation.share_with_anion_and_chain,
        "nve_drift_mev_per_atom_ps": record.nve_drift_mev_per_atom_ps,
        "seconds_per_step": record.seconds_per_step,
        "cpu_seconds_per_step": record.cpu_seconds_per_step,
        "peak_memory_mb": record.peak_memory_mb,
        "lost": list(record.lost),
        "warnings": list(record.warnings),
        "trajectories": [f.path for f in record.trajectories],
    }
    columns = {"ranking": "faster"}
    compared = ("first_peak_ang", "ranking", "share_with_anion_and_chain", "steps")
    said = {key: paper(columns.get(key, key)) for key in compared}
    return {**row, "paper": said}
