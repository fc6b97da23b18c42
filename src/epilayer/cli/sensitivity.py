"""``epilayer sensitivity``: which choice moves an adsorption energy how far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, out, print_json, study

if TYPE_CHECKING:
    from epilayer.model.sensitivity import ChoiceShift, Sensitivity


def sensitivity(*, as_json: JsonOption = False) -> None:
    """Show the band of each adsorption energy over the choices that its method leaves open.

    Compute it first: [cyan]epilayer run sensitivity[/] (embedded potentials: D3 and the engine), or
    [cyan]epilayer run sensitivity --level paper[/] (VASP: U, D3, dipole, spin order, anion).

    Example: [cyan]epilayer sensitivity --json[/]
    """
    from epilayer.store.records import record_of

    used = study()
    used.refresh()
    results = used.results()
    records: list[Sensitivity] = []
    if "sensitivity" in results.kinds():
        records = [record_of(r) for r in results.query("sensitivity", limit=None, body=True)]
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    if not records:
        out.print("No sensitivity is computed yet. Begin with: [cyan]epilayer run sensitivity[/]")
    for record in records:
        _show(record)


def _show(record: Sensitivity) -> None:
    label = " (stand-in, no result)" if record.stand_in else ""
    title = f"{record.ligand} on {record.cathode} ({record.facet}), {record.level.name}{label}"
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("choice")
    table.add_column("instead")
    table.add_column("E_ads, eV", justify="right")
    table.add_column("shift, eV", justify="right")
    table.add_column("")
    base = "refused" if record.base_ev is None else f"{record.base_ev:.3f}"
    table.add_row("as it is", escape(record.level.name), base, "", escape(record.base_refusal))
    for shift in record.shifts:
        table.add_row(*map(escape, _row(shift)))
    for axis, why in record.not_applicable.items():
        table.add_row(escape(axis), "", "", "", escape(f"not varied: {why}"), style="dim")
    out.print(table)
    out.print(escape(record.statement) + "\n", soft_wrap=True)


def _row(shift: ChoiceShift) -> tuple[str, ...]:
    value = "refused" if shift.value_ev is None else f"{shift.value_ev:.3f}"
    moved = "" if shift.shift_ev is None else f"{shift.shift_ev:+.3f}"
    note = shift.refusal or ("" if shift.in_band else "charged cells depend on the vacuum: not in the band")
    return shift.axis, shift.choice, value, moved, note
