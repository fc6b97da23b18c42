"""``epilayer analyse``: what any trajectory says, wherever it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import (
    JsonOption,
    StepSkipOption,
    TimeStepOption,
    TrajectoryArgument,
    err,
    out,
    print_json,
    study,
)
from epilayer.model.elements import ALKALI
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from epilayer.model.transport import DiffusionEstimate, TransportReport
    from epilayer.outputs.trajectories.frames import Header
    from epilayer.study.config import Catalogue

app = typer.Typer(
    no_args_is_help=True,
    help="Analyse what anybody computed: transport in a trajectory, bonds of a LOBSTER run, hydrogens.",
)

_PS_PER_FS = 1e-3


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
    from epilayer.analysis.transport import CarrierChoice, Frames, analyse_arrays

    with err.status("Reading ...") as status:
        header, positions, cells, step_fs = read_trajectory(file, time_step_fs, step_skip, from_ps)
        named, charges = _carriers(
            study().catalogue, header, species or [], molecule or [], positions[0], cells[0]
        )
        charges |= _charges(charge or [], {*(species or []), *named})
        status.update("Analysing ...")
        report = analyse_arrays(
            Frames(positions, cells, header.symbols, header.masses_amu, header.coordinates),
            CarrierChoice(species or (), named, charges),
            time_step_fs=step_fs,
            framework=_framework(framework, header, species or [], named),
            temperature_k=temperature_k,
            hop_length_ang=hop_length_ang,
        )
    if as_json:
        print_json({"file": str(file), **report.model_dump(mode="json")})
        return
    _show(file, report)


def read_trajectory(
    file: Path, time_step_fs: float | None, step_skip: int | None, from_ps: float
) -> tuple[Header, NDArray[np.float64], NDArray[np.float64], float | None]:
    """Return header, positions, cells and the time between frames (fs) of a trajectory of any kind."""
    import numpy as np

    from epilayer.model.errors import StoreError
    from epilayer.outputs.trajectories.sources import open_source
    from epilayer.trajectory.store import Trajectory, as_float

    if time_step_fs is not None and not time_step_fs > 0:
        raise InputError(
            f"The time step is {time_step_fs:g} fs.", "Give the positive time step of the simulation."
        )
    try:
        with Trajectory(file) as stored:
            header, steps = stored.header, stored.steps()
            positions, cells = stored.positions(), stored.cells_ang()
    except StoreError:  # no file of ours: a raw one, whose reader says what it is or why it is none
        source = open_source(file)
        blocks = list(source.blocks())
        header = source.header
        positions = np.concatenate([as_float(b.positions, header.decimals) for b in blocks])
        cells = np.concatenate([b.cells_ang for b in blocks])
        steps = np.concatenate([b.steps for b in blocks])
    one_step_fs = time_step_fs if time_step_fs is not None else header.time_step_fs
    if one_step_fs is None:
        raise InputError(
            f"{file} does not say its time step.",
            "Give it: --time-step-fs 2 (and --step-skip 50 if need be).",
        )
    apart = np.diff(steps)
    if len(apart) and apart.min() <= 0:
        at = int(np.argmin(apart > 0))
        raise InputError(
            f"{file}: step {steps[at + 1]} follows step {steps[at]}: frames are repeated or out of order, "
            "or trajectories were joined.",
            "Give one trajectory, in order, each frame once.",
        )
    if step_skip is None and len(apart) and apart.min() != apart.max():
        raise InputError(
            f"{file}: frames are {apart.min()} to {apart.max()} steps apart.",
            "Give evenly spaced frames, or say how far apart they are (--step-skip).",
        )
    skip = step_skip if step_skip is not None else int(apart[0]) if len(apart) else 1
    between_fs = one_step_fs * skip
    first = round(from_ps / (between_fs * _PS_PER_FS))
    if first >= len(positions):
        raise InputError(
            f"{file} holds {len(positions) * between_fs * _PS_PER_FS:.3g} ps, nothing after {from_ps:g} ps.",
            "Give an earlier --from-ps.",
        )
    return header, positions[first:], cells[first:], between_fs


def _carriers(
    catalogue: Catalogue,
    header: Header,
    species: list[str],
    molecules: list[str],
    first: NDArray[np.float64],
    cell_ang: NDArray[np.float64],
) -> tuple[dict[str, list[Any]], dict[str, float]]:
    """Return the atoms of every molecular carrier, and the formal charges that are known."""
    import numpy as np
    from pymatgen.core import Composition

    from epilayer.analysis.displacements import find_molecules

    charges = {s: 1.0 for s in species if s in ALKALI}
    if not molecules:
        return {}, charges
    fractional = first if header.coordinates == "fractional" else first @ np.linalg.inv(cell_ang)
    there = find_molecules(header.symbols, fractional, cell_ang)
    by_composition = {Composition(formula): found for formula, found in there.items()}
    named: dict[str, list[Any]] = {}
    ligands = {name.lower(): name for name in catalogue.names("ligands")}
    for text in molecules:
        name, sign, formula = text.partition("=")
        if not sign:
            if name.lower() in ligands:
                ligand = catalogue.ligand(ligands[name.lower()])
                formula = ligand.formula
                charges[name] = float(ligand.charge)
            else:
                formula = name
        try:
            wanted = Composition(formula.rstrip("+-"))
        except ValueError as error:
            raise InputError(
                f"--molecule {text!r} is neither a known ligand nor a formula.",
                f"Known: {', '.join(sorted(ligands))}; or give NAME=FORMULA, as in FSI=NS2O4F2.",
            ) from error
        if wanted not in by_composition:
            raise InputError(
                f"There is no molecule {wanted.formula.replace(' ', '')} in the first frame.",
                f"Found: {', '.join(sorted(there, key=len)[:12])}.",
            )
        named[name] = by_composition[wanted]
    return named, charges


def _charges(given: list[str], carriers: set[str]) -> dict[str, float]:
    charges = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in carriers:
            raise InputError(
                f"--charge {text}: {name!r} is no carrier.",
                f"Carriers: {', '.join(sorted(carriers)) or 'none'}.",
            )
        try:
            charges[name] = float(value)
        except ValueError as error:
            raise InputError(f"--charge {text!r} gives no number.", "Write --charge Na=1.") from error
    return charges


def _framework(text: str, header: Header, species: list[str], molecules: dict[str, list[Any]]) -> Any:  # noqa: ANN401
    """Return what is at rest, as :func:`epilayer.analysis.transport.analyse_arrays` takes it."""
    import numpy as np

    symbols = np.asarray(header.symbols)
    if text in ("all", "none"):
        return text
    if text != "rest":
        elements = [e.strip() for e in text.split(",")]
        absent = sorted(set(elements) - set(header.symbols))
        if absent:
            raise InputError(
                f"--framework: {absent[0]!r} is not in this trajectory.",
                f"Name elements ({', '.join(sorted(set(header.symbols)))}), or rest, all, none.",
            )
        return np.flatnonzero(np.isin(symbols, elements))
    carrier = np.isin(symbols, species)
    for atoms in (a for found in molecules.values() for a in found):
        carrier[atoms] = True
    # Where everything is a carrier, as in a liquid, the centre of mass of all is at rest.
    return "all" if carrier.all() else np.flatnonzero(~carrier)


def _show(file: Path, report: TransportReport) -> None:
    duration_ps = report.n_frames * report.time_step_ps
    out.print(f"{escape(str(file))}: {report.n_frames} frames, {duration_ps:.4g} ps, {report.frame}")
    table = Table(box=None, pad_edge=False)
    for heading in ("carrier", "n", "verdict", "D (cm2/s)", "95 % interval", "window (ps)", "N_eff", "why"):
        table.add_column(heading, overflow="fold")
    for item in report.diffusion:
        window = f"{item.window_ps[0]:.3g} to {item.window_ps[1]:.3g}" if item.window_ps else ""
        table.add_row(
            escape(item.species),
            str(item.n_carriers),
            item.verdict.value,
            "" if item.diffusion_cm2_per_s is None else f"{item.diffusion_cm2_per_s:.3g}",
            _interval(item.lower_cm2_per_s, item.upper_cm2_per_s),
            window,
            f"{item.n_eff:.3g}",
            _why(item),
        )
    out.print(table)
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


def _interval(lower: float | None, upper: float | None) -> str:
    if lower is None and upper is None:
        return ""
    if lower is None:
        return f"below {upper:.3g}"
    return f"above {lower:.3g}" if upper is None else f"{lower:.3g} to {upper:.3g}"


def _why(item: DiffusionEstimate) -> str:
    if item.ion_ps_needed is None:
        return escape(item.reason)
    return escape(f"{item.reason} {item.ion_ps:.3g} ion-ps; about {item.ion_ps_needed:.2g} would resolve it.")
