"""``epilayer sensitivity``: which choice moves an adsorption energy how far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from epilayer.cli.common import JsonOption, out, plain_table, print_json, study

if TYPE_CHECKING:
    from epilayer.model.sensitivity import ChoiceShift, Sensitivity


def sensitivity(*, as_json: JsonOption = False) -> None:
    """Show the band of each adsorption energy over the choices that its method leaves open.

    Compute it first: [cyan]epilayer run sensitivity[/] (embedded potentials: D3 and the engine), or
    [cyan]epilayer run sensitivity --level paper[/] (VASP: U, D3, dipole, spin order, anion).

    Example: [cyan]epilayer sensitivity --json[/]
    """
    from epilayer.study.records import typed

    used = study()
    used.refresh()
    records: list[Sensitivity] = typed(used, "sensitivity")
    if as_json:
        print_json(records)
        return
    if not records:
        out.print("No sensitivity is computed yet. Begin with: [cyan]epilayer run sensitivity[/]")
    for record in records:
        _show(record)


def _show(record: Sensitivity) -> None:
    label = " (stand-in, no result)" if record.stand_in else ""
    title = f"{record.ligand} on {record.cathode} ({record.facet}), {record.level.name}{label}"
    base = "refused" if record.base_ev is None else f"{record.base_ev:.3f}"
    rows = [("as it is", record.level.name, base, "", record.base_refusal), *map(_row, record.shifts)]
    rows += [(axis, "", "", "", f"not varied: {why}") for axis, why in record.not_applicable.items()]
    headings = ("choice", "instead", "E_ads, eV", "shift, eV", "")
    out.print(plain_table(headings, rows, right=headings[2:4], title=title))
    out.print(escape(record.statement) + "\n", soft_wrap=True)


def _row(shift: ChoiceShift) -> tuple[str, str, str, str, str]:
    value = "refused" if shift.value_ev is None else f"{shift.value_ev:.3f}"
    moved = "" if shift.shift_ev is None else f"{shift.shift_ev:+.3f}"
    note = shift.refusal or ("" if shift.in_band else "charged cells depend on the vacuum: not in the band")
    return shift.axis, shift.choice, value, moved, note
