"""The law of closure on executed files: every change that moves an energy is refused, nothing else is.

Three legs are written by the engine, one of them is edited on disk, all are executed by the stand-in
and read back; the law then sees what was executed.
"""

# ruff: noqa: E501, S311, ANN401  (tables of tags; draws are seeded, not secret; a module loaded by path)
from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from epilayer.analysis.adsorption import ComputedPose, System, certify
from epilayer.analysis.comparability import level_refusals
from epilayer.engines.vasp import executed as vasp_executed
from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.model.records import RefusalCode, Status
from epilayer.outputs.vasp.poscar import file_order
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from epilayer.model.records import Calculation

STANDIN = Path(__file__).parents[1] / "standin" / "vasp_standin.py"
MUTATIONS, CLEAN = 520, 120
ROLES = ("slab", "molecule", "adslab")
LEVELS = ("paper", "paper+u+d3")


def _standin() -> Any:
    spec = importlib.util.spec_from_file_location("vasp_standin_in_process", STANDIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bench:
    """The three legs of one level: written once, edited and executed often."""

    def __init__(self, root: Path, level: str) -> None:
        from pymatgen.core import Lattice, Structure

        from epilayer.structures import molecules

        catalogue = Catalogue((shipped("configs"),))
        self.engine = catalogue.engine(level, catalogue.cathode("nvopf"))
        self.standin = _standin()
        self.root = root
        slab = Structure(
            Lattice.orthorhombic(8.0, 8.0, 24.0),
            ["V", "O", "O", "Na"],
            [[0.5, 0.5, 0.2], [0.5, 0.25, 0.2], [0.25, 0.5, 0.2], [0.0, 0.0, 0.2]],
        )
        free = molecules.build(catalogue.ligand("triazole"), 0)
        box = molecules.in_box(free, vacuum_ang=15.0)
        adslab = slab.copy()
        base = free.cart_coords - free.cart_coords.mean(axis=0)
        shift = [4.0, 4.0, 4.8 + 3.0 - base[:, 2].min()]
        for site, xyz in zip(free, base, strict=True):
            adslab.append(site.specie, xyz + shift, coords_are_cartesian=True)
        self.structures = {"slab": slab, "molecule": box, "adslab": adslab}
        self.clean = {role: self.execute(role) for role in ROLES}
        self.turn = 0

    def execute(self, role: str, edit: Callable[[Path], None] | None = None) -> Calculation:
        """Write a leg, edit its files, execute and read it."""
        where = self.root / role
        shutil.rmtree(where, ignore_errors=True)
        structure = self.structures[role]
        maker = self.engine.static(f"{role} leg")
        maker.write(structure, where)
        if edit is not None:
            edit(where)
        run = self.standin.Run(where)
        with Path(os.devnull).open("w") as null, redirect_stdout(null):
            assert run.execute() == 0
        kind = vasp_inputs.system_kind(structure)
        assert kind.value == ("molecule" if role == "molecule" else "slab")
        asked = vasp_executed.Asked(
            label=f"{role} leg",
            task="static",
            level=self.engine.level.name,
            max_force_ev_per_ang=9.0,
            structure=structure,
            order=file_order(structure),
            declared=maker._declared(structure),
        )
        return vasp_executed.read(where, asked, 0.0)

    def judge(self, role: str, edit: Callable[[Path], None]) -> tuple[list[str], dict[str, Calculation]]:
        legs = {**self.clean, role: self.execute(role, edit)}
        found = level_refusals("pose", legs["adslab"], legs["slab"], legs["molecule"])
        assert all(r.code is RefusalCode.LEVEL_MISMATCH for r in found)
        return [r.what for r in found], legs

    def certified(self, legs: dict[str, Calculation]) -> Status:
        pose = ComputedPose(
            label="p", anchor="n", site="top", start=self.structures["adslab"], calculation=legs["adslab"]
        )
        system = System(cathode="c", facet="001", termination="t", ligand="l")
        return certify(system, legs["slab"], legs["molecule"], [pose]).status


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory, potcars: Path) -> Iterator[dict[str, Bench]]:
    import pymatgen.core

    kept = pymatgen.core.SETTINGS.get("PMG_VASP_PSP_DIR")
    pymatgen.core.SETTINGS["PMG_VASP_PSP_DIR"] = str(potcars)
    try:
        yield {level: Bench(tmp_path_factory.mktemp("legs"), level) for level in LEVELS}
    finally:
        pymatgen.core.SETTINGS["PMG_VASP_PSP_DIR"] = kept


def set_tag(tag: str, value: str) -> Callable[[Path], None]:
    def edit(where: Path) -> None:
        lines = [x for x in (where / "INCAR").read_text().splitlines() if x.split("=")[0].strip() != tag]
        (where / "INCAR").write_text("\n".join([*lines, f"{tag} = {value}", ""]))

    return edit


def set_mesh(mesh: str, style: str = "Gamma") -> Callable[[Path], None]:
    return lambda where: (where / "KPOINTS").write_text(f"mesh\n0\n{style}\n{mesh}\n") and None


def edit_potcar(pattern: str, by: str) -> Callable[[Path], None]:
    def edit(where: Path) -> None:
        text = (where / "POTCAR").read_text()
        changed = re.sub(pattern, by, text, count=1)
        assert changed != text
        (where / "POTCAR").write_text(changed)

    return edit


def mutation(rng: random.Random, role: str, level: str) -> tuple[str, Callable[[Path], None]]:
    """Draw one change of one leg that moves an energy: (what the refusal must name, the edit)."""
    pick = rng.choice
    number = rng.uniform
    shared: list[tuple[str, Callable[[], tuple[str, str]]]] = [
        ("ENCUT", lambda: ("ENCUT", pick(["400", "450", "499.5", "520", f"{number(501, 900):.1f}"]))),
        ("functional", lambda: ("GGA", pick(["PS", "RP", "RE", "AM"]))),
        ("METAGGA", lambda: ("METAGGA", pick(["R2SCAN", "SCAN"]))),
        ("spin", lambda: ("ISPIN", "1")),
        ("ISMEAR", lambda: ("ISMEAR", pick(["1", "2", "-1", "-5"]))),
        ("SIGMA", lambda: ("SIGMA", pick(["0.1", "0.2", f"{number(0.06, 0.5):.3f}"]))),
        ("PREC", lambda: ("PREC", pick(["Normal", "Low", "Single"]))),
        ("LREAL", lambda: ("LREAL", ".TRUE.")),
        ("LASPH", lambda: ("LASPH", ".FALSE.")),
        ("ADDGRID", lambda: ("ADDGRID", ".TRUE.")),
        ("IVDW", lambda: ("IVDW", pick(["1", "11", "13", "20", "0" if level == "paper+u+d3" else "12"]))),
        ("LHFCALC", lambda: ("LHFCALC", ".TRUE.")),
        ("EPSILON", lambda: ("EPSILON", f"{number(2, 80):.1f}")),
        ("EFIELD", lambda: ("EFIELD", f"{number(0.01, 0.5):.3f}")),
        ("NOBODYKNOWS", lambda: ("NOBODYKNOWS", pick(["1", ".TRUE.", "0.5"]))),
    ]
    own: list[tuple[str, Callable[[Path], None]]] = [
        ("k_mesh", set_mesh(pick(["3 3 1", "2 1 1", "4 4 1", "2 2 2"]))),
        ("k_mesh", set_mesh("1 1 1" if role != "molecule" else "2 2 2", pick(["Gamma", "Monkhorst"]))),
        ("ediff_ev", set_tag("EDIFF", pick(["1E-4", "1E-3", "2E-5"]))),
        ("charge_e", set_tag("NELECT", f"{30 + number(0.1, 2):.2f}")),
        (
            "dipole",
            set_tag("LDIPOL", ".FALSE.") if level == "paper+u+d3" and role != "molecule" else _dipole(),
        ),
        (
            "N as" if role != "slab" else "O as",
            edit_potcar(r"(TITEL  = PAW_PBE [NO]) 01Jan2001", r"\1 02Feb2002"),
        ),
        (
            "N as" if role != "slab" else "O as",
            edit_potcar(r"(VRHFIN =[NO]:.*\n(?:.*\n)*?.*DEXC   =    0\.00)0", rf"\g<1>{rng.randint(1, 9)}"),
        ),
    ]
    if role != "molecule":
        own.append(("V as", _hubbard(pick([2.0, 3.0, 3.1, 4.0, 5.3]))))
        own.append(("O as", _hubbard(None, on="O", u_ev=number(1, 6))))
    if rng.random() < 0.55:
        name, draw = pick(shared)
        return name, set_tag(*draw())
    return pick(own)


def _dipole() -> Callable[[Path], None]:
    def edit(where: Path) -> None:
        for tag, value in (("LDIPOL", ".TRUE."), ("IDIPOL", "3"), ("DIPOL", "0.5 0.5 0.5")):
            set_tag(tag, value)(where)

    return edit


def _hubbard(vanadium_ev: float | None, on: str = "V", u_ev: float = 0.0) -> Callable[[Path], None]:
    """Put another U on V (or one on another element), whatever the leg had."""

    def edit(where: Path) -> None:
        elements = (where / "POSCAR").read_text().splitlines()[5].split()
        had = re.search(r"^LDAUU = (.*)$", (where / "INCAR").read_text(), re.MULTILINE)
        values = [float(x) for x in had[1].split()] if had else [0.0] * len(elements)
        values[elements.index(on)] = vanadium_ev if vanadium_ev is not None else u_ev
        shells = [(2 if e == "V" else 1) if u else -1 for e, u in zip(elements, values, strict=True)]
        for tag, value in (
            ("LDAU", ".TRUE."),
            ("LDAUTYPE", "2"),
            ("LDAUL", " ".join(map(str, shells))),
            ("LDAUU", " ".join(map(str, values))),
            ("LDAUJ", " ".join("0.0" for _ in values)),
        ):
            set_tag(tag, value)(where)

    return edit


def clean_variation(rng: random.Random) -> tuple[str, Callable[[Path], None]]:
    """Draw one change of one leg that moves no energy."""
    pick = rng.choice
    tag, value = pick(
        [
            ("KPAR", str(rng.randint(1, 8))), ("NCORE", str(2 ** rng.randint(0, 6))), ("NPAR", str(rng.randint(1, 16))),
            ("NSIM", str(rng.randint(1, 16))), ("LWAVE", ".TRUE."), ("LCHARG", ".TRUE."), ("ALGO", pick(["Fast", "All", "VeryFast"])),
            ("NELM", str(rng.randint(60, 400))), ("NELMIN", str(rng.randint(2, 10))), ("AMIX", f"{rng.uniform(0.05, 0.4):.2f}"),
            ("BMIX", f"{rng.uniform(0.0001, 1):.4f}"), ("IMIX", "1"), ("ISTART", "1"), ("ICHARG", "1"), ("LORBIT", "10"),
            ("POTIM", f"{rng.uniform(0.1, 0.6):.2f}"), ("SYMPREC", "1E-4"), ("EDIFF", pick(["1E-6", "1E-7"])), ("LMAXMIX", "6"),
            ("SYSTEM", "another name of the job"), ("LVTOT", ".TRUE."), ("NWRITE", "1"), ("LAECHG", ".TRUE."), ("ISYM", pick(["-1", "0"])),
            ("ADDGRID", ".FALSE."), ("LASPH", ".TRUE."), ("LHFCALC", ".FALSE."), ("METAGGA", "--"),
        ]
    )  # fmt: skip
    return tag, set_tag(tag, value)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_every_mutation_of_one_leg_is_refused_by_its_name(benches: dict[str, Bench], level: str) -> None:
    rng = random.Random(f"mutations of {level}")
    bench = benches[level]
    escaped, misnamed, seen = [], [], set()
    for number in range(MUTATIONS // len(LEVELS)):
        role = rng.choice(ROLES)
        name, edit = mutation(rng, role, level)
        what, legs = bench.judge(role, edit)
        seen.add(name)
        if not what:
            escaped.append((role, name))
        elif not any(name in line for line in what):
            misnamed.append((role, name, what))
        if number % 25 == 0:
            assert bench.certified(legs) is Status.REFUSED
    assert not escaped
    assert not misnamed
    assert len(seen) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_no_clean_variation_raises_an_alarm(benches: dict[str, Bench], level: str) -> None:
    rng = random.Random(f"variations of {level}")
    bench = benches[level]
    assert bench.certified(bench.clean) is Status.CERTIFIED
    alarms, seen = [], set()
    for number in range(CLEAN // len(LEVELS)):
        role = rng.choice(ROLES)
        name, edit = clean_variation(rng)
        what, legs = bench.judge(role, edit)
        seen.add(name)
        if what:
            alarms.append((role, name, what))
        if number % 20 == 0:
            assert bench.certified(legs) is Status.CERTIFIED
    assert not alarms
    assert len(seen) >= 15
