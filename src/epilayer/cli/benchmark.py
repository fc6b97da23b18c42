"""``epilayer benchmark``: the error of a level of theory against published interaction energies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study


def benchmark(
    level: Annotated[str, typer.Argument(help="Level of theory (epilayer list levels).")],
    geometries: Annotated[
        Path, typer.Option("--geometries", "-g", help="Folder with the structures of the published set.")
    ],
    name: Annotated[
        str, typer.Option("--set", help="Published set (epilayer list benchmarks).")
    ] = "ionic-oxides",
    *,
    as_json: JsonOption = False,
) -> None:
    """Measure the error of a level of theory: an adsorption energy at it is certified by nothing less.

    Writes configs/model_errors/LEVEL.yaml in the study, which later adsorption energies are judged by.

    Example: [cyan]epilayer benchmark chgnet+d3 --geometries Data_autoSKZCAM/[/]
    """
    from epilayer.analysis.certainty import FEWEST_CASES, half_width_ev
    from epilayer.study.benchmarking import benchmark as run
    from epilayer.study.benchmarking import write_errors

    used = study()
    found = run(used.catalogue, level, name, geometries)
    path = used.root / "configs" / "model_errors" / f"{level}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_errors(found, path)
    errors = [case.error_ev for case in found.cases.values()]
    half_ev = half_width_ev(errors)
    mean_ev = sum(map(abs, errors)) / len(errors)
    if as_json:
        print_json({**found.model_dump(mode="json"), "mean_absolute_ev": mean_ev, "half_width_ev": half_ev})
        return
    rows = [(case, e.contact, f"{e.error_ev:+.3f}") for case, e in found.cases.items()]
    out.print(plain_table(("case", "contact", "error, eV"), rows))
    half = (
        "too few cases for an interval" if half_ev is None else f"95 % of new errors within {half_ev:.2f} eV"
    )
    out.print(f"{level} against {found.reference}: mean absolute error {mean_ev:.3f} eV; {half}.")
    out.print(f"An energy is judged by the cases of its own contact, at least {FEWEST_CASES} of them.")
    err.print(f"Written: [bold]{path}[/]")
