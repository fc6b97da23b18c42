"""What is said of ion transport after a run and in the report: each figure beside the paper's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import out

if TYPE_CHECKING:
    from epilayer import Study
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.model.ion_transport import IonTransport, PairShell
    from epilayer.model.reference import Reference

_REFERENCE = "isotropic-epilayer-2025"
_LEAST_SHARE = 0.1


def transport_rows(
    used: Study, queue: EmbeddedQueue | None = None, flow: str | None = None
) -> list[dict[str, Any]]:
    """Return one row a transport record of the study, or of a flow of its queue."""
    from epilayer.store.records import record_of

    if used.results_address == used.results_file and not used.results_file.exists():
        return []
    results = used.results()
    try:
        if "transport" not in results.kinds():
            return []
        found = results.query("transport", sort="created", body=True)
    finally:
        results.close()
    jobs = {job.uuid for job in queue.jobs(flow=flow)} if queue is not None and flow is not None else None
    reference = used.catalogue.reference(_REFERENCE)
    return [
        _row(record_of(document), reference)
        for document in found
        if jobs is None or document["fields"]["job"] in jobs
    ]


def _row(record: IonTransport, reference: Reference) -> dict[str, Any]:
    mof = record.system.split(" ", 1)[0]

    def paper(quantity: str) -> str | None:
        said = reference.transport_of(mof, quantity)
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
    names = {
        "first_peak_ang": "first peak of Na-O",
        "ranking": "ranking",
        "share_with_anion_and_chain": "solvation",
    }
    said = {key: paper(quantity) for key, quantity in {**names, "steps": "protocol"}.items()}
    return {**row, "paper": said}


def show_transport(rows: list[dict[str, Any]]) -> None:
    """Print the rows."""
    for row in rows:
        out.print()
        out.print(f"[bold]{escape(row['system'])}[/], {row['temperature_k']:g} K, {escape(row['level'])}")
        grid = Table.grid(padding=(0, 2))
        for _ in range(3):
            grid.add_column(overflow="fold")
        grid.add_row("", "[bold]here[/]", "[bold]paper[/]")
        for name, here, key in _lines(row):
            grid.add_row(name, here, escape(row["paper"].get(key) or ""))
        out.print(grid)
        for text in row["warnings"]:
            out.print(f"[yellow]warning[/] {escape(text)}", soft_wrap=True)


def _lines(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    per_frame = row["time_step_fs"]
    production = row["steps"] - row["equilibration_steps"]
    replicas = f", {row['replicas']} replicas" if row["replicas"] > 1 else ""
    steps = (
        f"{row['equilibration_steps']} + {production} steps of {per_frame:g} fs in {row['segments']} segments"
    )
    warm = f"{row['mean_temperature_k']:.0f} K on average"
    lines = [
        ("dynamics", f"{row['atoms']} atoms, {steps}{replicas}, {warm}", "steps"),
        ("moves", escape(row["moves"]), ""),
        *(("at the joins" if k == 0 else "", escape(text), "") for k, text in enumerate(row["lost"])),
        (f"D of {escape(row['cation'])}", f"[bold]{escape(row['verdict'])}[/]{_value(row)}", ""),
    ]
    lines += [("ranking", escape(text), "ranking") for text in row["ranking"]]
    for item in row["transference"]:
        ends = "" if item["lower"] is None else f" {item['lower']:.2f} to {item['upper']:.2f}"
        lines.append((item["name"], f"{item['verdict']}{ends}: {escape(item['reason'])}", ""))
    peak = "none found" if row["first_peak_ang"] is None else f"{row['first_peak_ang']:.2f} A"
    number = "" if row["coordination"] is None else f", {row['coordination']:.1f} O within the first shell"
    lines.append(("first peak of Na-O", f"[bold]{peak}[/]{number}", "first_peak_ang"))
    mean = ", ".join(f"{value:.1f} {name}" for name, value in row["mean_neighbours"].items())
    lines.append((f"within {row['shell_cutoff_ang']:.2f} A", escape(mean) or "nothing", ""))
    share = row["share_with_anion_and_chain"]
    if share is not None:
        lines.append(
            ("solvation", f"{100 * share:.0f} % of the time by anion and chain", "share_with_anion_and_chain")
        )
    if row["nve_drift_mev_per_atom_ps"] is not None:
        lines.append(("NVE drift", f"{row['nve_drift_mev_per_atom_ps']:+.3f} meV/atom/ps", ""))
    memory = "" if row["peak_memory_mb"] is None else f", {row['peak_memory_mb'] / 1024:.1f} GB"
    cpu_s = row["cpu_seconds_per_step"]
    cpu = "" if cpu_s is None else f" ({cpu_s:.2g} s of CPU)"
    lines.append(("cost", f"{row['seconds_per_step']:.2g} s a step{cpu}{memory}", ""))
    lines += [("trajectory", escape(path), "") for path in row["trajectories"]]
    return lines


def _value(row: dict[str, Any]) -> str:
    value, lower, upper = (row[k] for k in ("diffusion_cm2_per_s", "lower_cm2_per_s", "upper_cm2_per_s"))
    text = "" if value is None else f" {value:.3g} cm2/s"
    if lower is not None or upper is not None:
        text += (
            f" ({'...' if lower is None else f'{lower:.2g}'} to {'...' if upper is None else f'{upper:.2g}'})"
        )
    if row["ion_ps_needed"] is not None:
        text += f" {row['ion_ps']:.2g} ion-ps; about {row['ion_ps_needed']:.2g} would resolve it."
    return text
