"""``epilayer analyse``: what any trajectory says, wherever it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import (
    JsonOption,
    StepSkipOption,
    TimeStepOption,
    TrajectoryArgument,
    err,
    out,
    plain_table,
    print_json,
    study,
)

if TYPE_CHECKING:
    from epilayer.model.transport import DiffusionEstimate, TransportReport

app = typer.Typer(
    no_args_is_help=True,
    help="Analyse what anybody computed: transport in a trajectory, bonds of a LOBSTER run, hydrogens.",
)


@app.callback()
def analyse() -> None:
    """Analyse what anybody computed."""


@app.command()
def transport(
    file: TrajectoryArgument,
    species: Annotated[
        list[str] | None, typer.Option("--species", help="Element whose atoms are carriers; may be repeated.")
    ] = None,
    molecule: Annotated[
        list[str] | None,
        typer.Option(
            "--molecule",
            help="Molecular carrier, followed at its centre: a ligand's name (fsi) or NAME=FORMULA.",
        ),
    ] = None,
    time_step_fs: TimeStepOption = None,
    step_skip: StepSkipOption = None,
    temperature_k: Annotated[
        float | None, typer.Option("--temperature-k", help="For the conductivity.")
    ] = None,
    charge: Annotated[
        list[str] | None,
        typer.Option(
            "--charge", metavar="NAME=Z", help="Formal charge; alkali +1 and ligands' own by default."
        ),
    ] = None,
    framework: Annotated[
        str,
        typer.Option(
            "--framework",
            help="At rest: rest (all that is no carrier), all (centre of mass), none, or elements: Zn,C.",
        ),
    ] = "rest",
    from_ps: Annotated[float, typer.Option("--from-ps", min=0.0, help="Leave out what comes before.")] = 0.0,
    hop_length_ang: Annotated[
        float, typer.Option("--hop-length-ang", help="Distance that counts as one hop.")
    ] = 3.0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Diffusion, transference and conductivity of the ions in a trajectory, with intervals or refusals.

    The verdict is resolved, bound or refused; a refusal says how many ion-picoseconds would resolve it.

    Example: [cyan]epilayer analyse transport XDATCAR --time-step-fs 2 --species Na --molecule fsi[/]
    """
    from epilayer.study.analysing import Carriers, read_trajectory, transport_in

    carriers = Carriers(tuple(species or ()), tuple(molecule or ()), tuple(charge or ()), framework)
    with err.status("Reading ...") as status:
        frames = read_trajectory(file, time_step_fs=time_step_fs, step_skip=step_skip, from_ps=from_ps)
        status.update("Analysing ...")
        report = transport_in(
            frames,
            carriers,
            study().catalogue,
            temperature_k=temperature_k,
            hop_length_ang=hop_length_ang,
        )
    if as_json:
        print_json({"file": str(file), **report.model_dump(mode="json")})
        return
    _show(file, report)


def _show(file: Path, report: TransportReport) -> None:
    duration_ps = report.n_frames * report.time_step_ps
    out.print(f"{escape(str(file))}: {report.n_frames} frames, {duration_ps:.4g} ps, {report.frame}")
    headings = ("carrier", "n", "verdict", "D (cm2/s)", "95 % interval", "window (ps)", "N_eff", "why")
    out.print(plain_table(headings, map(_cells, report.diffusion)))
    for comparison in report.faster:
        out.print(escape(comparison.said))
    ratios = [*report.transference, *([report.haven] if report.haven else [])]
    for ratio in ratios:
        value = "" if ratio.value is None else f"{ratio.value:.3f} "
        ends = _interval(ratio.lower, ratio.upper)
        out.print(escape(f"{ratio.name}: {ratio.verdict} {value}{ends} {ratio.reason}"), soft_wrap=True)
    for flow in report.conductivity:
        value = "" if flow.conductivity_ms_per_cm is None else f"{flow.conductivity_ms_per_cm:.3g} mS/cm "
        ends = _interval(flow.lower_ms_per_cm, flow.upper_ms_per_cm)
        said = f"conductivity ({flow.kind}): {flow.verdict} {value}{ends} {flow.reason}"
        out.print(escape(said), soft_wrap=True)


def _cells(item: DiffusionEstimate) -> tuple[str, ...]:
    return (
        item.species,
        str(item.n_carriers),
        item.verdict.value,
        "" if item.diffusion_cm2_per_s is None else f"{item.diffusion_cm2_per_s:.3g}",
        _interval(item.lower_cm2_per_s, item.upper_cm2_per_s),
        f"{item.window_ps[0]:.3g} to {item.window_ps[1]:.3g}" if item.window_ps else "",
        f"{item.n_eff:.3g}",
        _why(item),
    )


def _interval(lower: float | None, upper: float | None) -> str:
    if lower is None and upper is None:
        return ""
    if lower is None:
        return f"below {upper:.3g}"
    return f"above {lower:.3g}" if upper is None else f"{lower:.3g} to {upper:.3g}"


def _why(item: DiffusionEstimate) -> str:
    if item.ion_ps_needed is None:
        return item.reason
    return f"{item.reason} {item.ion_ps:.3g} ion-ps; about {item.ion_ps_needed:.2g} would resolve it."
