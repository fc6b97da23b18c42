"""Print a table of real VASP and LOBSTER outputs: file, known answer, what epilayer reads.

    python tools/real_outputs.py [--data DIR] [--markdown]

Exits with 1 if any row differs. The known answers come from the index beside the data (energies read by
pymatgen, texts by an independent scan), from the names of the folders, and from the authors' own tests.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from epilayer.analysis.imported_adsorption import imported_adsorption, triples
from epilayer.engines.vasp.imported_legs import as_calculation, usable_as_leg
from epilayer.outputs import import_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epilayer.model.imported import ImportedCalculation

ENERGY_EV, E_ADS_EV, ICOHP_EV = 1e-8, 1e-5, 1e-4
NO_ENERGY = "no energy"
STATES = {
    "converged": "converged, -6.50161629 eV",
    "converged-with-error": "converged, -6.50161629 eV",
    "elec-unconverged": f"unconverged, {NO_ENERGY}",
    "ionic-unconverged": f"unconverged, {NO_ENERGY}",
    "unfinished": f"incomplete, {NO_ENERGY}",
}
ERRORS = {
    "vasp.brmix": "brmix", "vasp.dentet": "dentet", "vasp.edddav": "edddav", "vasp.edddav2": "edddav",
    "vasp.eddiag": "eddiag", "vasp.eddrmm": "eddrmm", "vasp.ibzkpt": "ibzkpt",
    "vasp.nicht_konvergent": "nicht_konvergent", "vasp.posmap": "posmap", "vasp6.posmap": "posmap",
    "vasp.pricelv": "pricelv", "vasp.pssyevx": "subspace_rotation", "vasp.real_optlay": "real_optlay",
    "vasp.subspace": "subspace_matrix", "vasp.zbrent": "zbrent", "zpotrf/vasp.out": "zpotrf",
    "std_err.txt.oom": "out_of_memory", "std_err.txt.kpoints_trans": "k_points_transform",
    "potim": "ionic_step_too_large", "nonconv": "scf_never_converges",
}  # fmt: skip
UNSOUND = (
    "potim/", "unfinished/", "elec-unconverged/", "ionic-unconverged/", "unconverged.xml",
    ".electronic.", ".ionic.",
)  # fmt: skip
LOBSTER_STATES = {
    "lobsterout.normal": "converged",
    "lobsterout.nocohp": "failed",
    "lobsterout.largespilling": "unconverged, spilling 7.28 7.28 %",
    "lobsterout.largespilling_2": "unconverged, spilling 1.28 7.28 %",
    "crash": "incomplete",
    "notfinishedlobsterout": "incomplete",
}


class Row(NamedTuple):
    """One line of the table."""

    file: str
    truth: str
    ours: str
    agrees: bool


def one(place: Path) -> ImportedCalculation:
    """Return the only record of a place."""
    (record,) = import_directory(place)
    return record


def said(record: ImportedCalculation) -> str:
    """Return status and energy in words."""
    energy = NO_ENERGY if record.energy_ev is None else f"{record.energy_ev:.8f} eV"
    return f"{record.status.value}, {energy}"


def adsorption(data: Path, index: dict[str, object]) -> Iterator[Row]:
    """Compare the adsorption energies of the Au/O flow."""
    flow = data / "vasp_Au_O_adsorption_flow"
    legs = [(r, as_calculation(r)) for r in import_directory(flow) if usable_as_leg(r)]
    made = [imported_adsorption(*three) for three in triples(legs)]
    made.sort(key=lambda one: one.adsorption_energy_ev or 0.0)
    for energy, truth in zip(made, index["vasp_Au_O_adsorption_flow"]["E_ads_eV_sorted"], strict=True):  # type: ignore[index]
        name = Path(energy.legs[2].path).parent.name
        value = energy.adsorption_energy_ev
        agrees = value is not None and abs(value - truth) < E_ADS_EV
        ours = "refused" if value is None else f"{value:.5f} eV"
        yield Row(f"vasp_Au_O_adsorption_flow/{name}: E_ads", f"{truth:.5f} eV", ours, agrees)


def energies(data: Path, documents: list[dict[str, object]]) -> Iterator[Row]:
    """Compare every energy that the index names."""
    for entry in (f for d in documents for f in d["files"]):  # type: ignore[attr-defined]
        reference = entry.get("reference", {}).get("pymatgen")
        if not isinstance(reference, dict) or "E" not in reference or "OSZICAR" in entry["path"]:
            continue
        record = one(data / entry["path"])
        unsound = any(part in entry["path"] for part in UNSOUND)
        truth = (
            f"{NO_ENERGY} (a naive reader: {reference['E']} eV)" if unsound else f"{reference['E']:.8f} eV"
        )
        if unsound or record.energy_ev is None:
            agrees = unsound and record.energy_ev is None
        else:
            agrees = abs(record.energy_ev - reference["E"]) < ENERGY_EV
        yield Row(entry["path"], truth, said(record), agrees)


def states(data: Path) -> Iterator[Row]:
    """Compare how runs ended, and the names of errors."""
    for state, truth in STATES.items():
        ours = said(one(data / "vasp_exit_codes" / state))
        yield Row(f"vasp_exit_codes/{state}", truth, ours, ours == truth)
    for name, truth in ERRORS.items():
        record = one(data / "vasp_error_texts" / name)
        grave = [reason for reason in record.reasons if reason.severity.value != "note"]
        codes = [reason.code.value for reason in grave or record.reasons]
        agrees = truth in codes and record.energy_ev is None
        yield Row(f"vasp_error_texts/{name}", truth, ", ".join(codes), agrees)


def moments(data: Path) -> Iterator[Row]:
    """Compare the moments of ferromagnetic MgMn2O4."""
    truth = "Mn 3.845 x4, total 16.000 mu_B, U(Mn) 3.9 eV"
    for record in import_directory(data / "vasp_MgMn2O4_FM"):
        manganese = [
            m for m, e in zip(record.magnetic_moments or (), record.species, strict=True) if e == "Mn"
        ]
        u_ev = record.level.hubbard[0].u_ev if record.level and record.level.hubbard else None
        total = record.total_magnetization_mu_b or 0.0
        ours = f"Mn {manganese[0]:.3f} x{len(manganese)}, total {total:.3f} mu_B, U(Mn) {u_ev} eV"
        yield Row(f"vasp_MgMn2O4_FM/{Path(record.path).parent.name}", truth, ours, ours == truth)


def bonds(data: Path) -> Iterator[Row]:
    """Compare LOBSTER's integrals, spins and states."""
    here = data / "lobster_NaCl_spin_BeTe"
    truths = {"NaCl": ((-0.56541,), -0.56541), "NaCl_spin": ((-0.2827, -0.2827), -0.56541)}
    for name, (per_spin, summed) in truths.items():
        record = next(r for r in import_directory(here / name) if r.bonding)
        if record.bonding is None:
            continue
        bond = min(record.bonding.icohp_ev, key=lambda b: b.summed)
        found = (*bond.per_spin, bond.summed)
        near = [abs(a - b) < ICOHP_EV for a, b in zip(found, (*per_spin, summed), strict=True)]
        truth = f"Na-Cl {' + '.join(map(str, per_spin))}, summed {summed} eV"
        ours = f"Na-Cl {' + '.join(map(str, bond.per_spin))}, summed {bond.summed:.5f} eV"
        yield Row(f"lobster_NaCl_spin_BeTe/{name}/ICOHPLIST", truth, ours, all(near))
    for name in ("lobster_NaCl_spin_BeTe/BeTe", "lobster_spin_Fe/lobster_0"):
        record = next(r for r in import_directory(data / name) if r.bonding)
        if record.bonding is None:
            continue
        channels = record.bonding.spin_channels
        sums = all(abs(sum(b.per_spin) - b.summed) < ICOHP_EV for b in record.bonding.icohp_ev)
        truth = "converged, 2 spins, sums hold"  # both lists have a block for spin 1 and one for spin 2
        ours = f"{record.status.value}, {channels} spins, {'sums hold' if sums else 'sums do not hold'}"
        yield Row(name, truth, ours, ours == truth)
    for name, truth in LOBSTER_STATES.items():
        record = one(data / "lobster_out_states" / name)
        ours = record.status.value
        if "spilling" in truth and record.bonding:
            ours += f", spilling {' '.join(f'{s.charge_percent:g}' for s in record.bonding.spilling)} %"
        yield Row(f"lobster_out_states/{name}", truth, ours, ours == truth)


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EPILAYER_REAL_DATA", default)))
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    if not (given.data / "index.json").exists():
        print(f"The real outputs are not at {given.data}.")
        return 0
    documents = json.loads((given.data / "index.json").read_text(encoding="utf-8"))["datasets"]
    known = {d["name"]: d["known_answers"] for d in documents}
    data = given.data
    rows = [*adsorption(data, known), *states(data), *moments(data), *bonds(data), *energies(data, documents)]
    edge = "| " if given.markdown else ""
    if given.markdown:
        print("| file | truth | ours | |\n|---|---|---|---|")
    for row in rows:
        mark = "ok" if row.agrees else "DIFFERS"
        print(f"{edge}{row.file} | {row.truth} | {row.ours} | {mark}{' |' if edge else ''}")
    differing = sum(not row.agrees for row in rows)
    print(f"\n{len(rows)} rows, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
