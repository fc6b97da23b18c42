"""Every input file of the loaded pore's dynamics and of the bonding analysis, compared in full.

With ``EPILAYER_WRITE_GOLDEN=1`` this file writes them anew; look at the difference, and at
``docs/vasp-inputs.md``, before committing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.engines.dry import InputsOnly
from epilayer.flows.adsorption import facet_slab
from epilayer.model.cohp import Bond
from epilayer.model.dynamics import DynamicsSettings
from epilayer.structures import crystals, molecules, poses
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import TrajectoryFolder
from golden import lines, unreviewed, written_beside

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden-s6-s8"
LEVELS = ("paper", "paper+u+d3")
FILES = ("INCAR", "KPOINTS", "POSCAR", "POTCAR.spec", "lobsterin")
PORE = "dynamics-met6-2-NaFSI-2-POM15"
SLAB, FREE = "bonds-peo2-on-charged-nvopf-001", "bonds-peo2-free"

pytestmark = pytest.mark.slow


def loaded_pore(catalogue: Catalogue) -> Structure:
    """Return the 506 atoms; the guests' places are a placeholder, since only settings are compared."""
    host = crystals.framework(catalogue.mof("met6"))
    n_host = len(host)
    chain, anion = molecules.build(molecules.chain("pom", 15), 0), molecules.build(catalogue.ligand("fsi"), 0)
    # The large cages stand at 8b (3/8, 3/8, 3/8) and its images.
    cages = [(3 / 8, 3 / 8, 3 / 8), (1 / 8, 5 / 8, 1 / 8), (7 / 8, 3 / 8, 7 / 8), (5 / 8, 1 / 8, 1 / 8)]
    for guest, cage in zip((chain, chain, anion, anion), cages, strict=True):
        centre = host.lattice.get_cartesian_coords(cage)
        for site in guest:
            host.append(
                site.specie,
                site.coords - guest.cart_coords.mean(axis=0) + centre,
                coords_are_cartesian=True,
            )
    for cage in cages[2:]:
        host.append("Na", np.array(cage) + 0.1)
    moves = [i >= n_host or site.specie.symbol == "H" for i, site in enumerate(host)]
    host.add_site_property("selective_dynamics", [[free] * 3 for free in moves])
    return host


def segment() -> Molecule:
    return molecules.build(molecules.chain("peo", 2), 0)


def ether_bonds(molecule: Molecule, shift: int = 0) -> list[Bond]:
    symbols = [site.specie.symbol for site in molecule]
    pairs = [sorted(p) for p in molecules.bonds(molecule)]
    found = sorted(p for p in pairs if {symbols[p[0]], symbols[p[1]]} == {"C", "O"})
    return [
        Bond(name=f"{symbols[i]}{i + 1}-{symbols[j]}{j + 1}", atoms=(i + shift, j + shift)) for i, j in found
    ]


def write_all(level: str, folder: Path) -> None:
    catalogue = Catalogue((shipped("configs"),))
    nvopf = catalogue.cathode("nvopf")
    trajectory = DynamicsSettings(temperature_k=353.15, time_step_fs=1.0, steps=13_000)
    pore = InputsOnly(catalogue.engine(level), str(folder)).segment(PORE, trajectory, TrajectoryFolder())
    pore.make.original(pore, loaded_pore(catalogue))
    engine = InputsOnly(catalogue.engine(level, nvopf), str(folder))
    molecule = segment()
    free = engine.bonding(FREE)
    free.make.original(free, molecules.in_box(molecule, vacuum_ang=15.0), ether_bonds(molecule))
    slab = facet_slab(nvopf, "001", state="charged").structure
    anchors = molecules.anchors(molecules.chain("peo", 2))
    pose = poses.generate(slab, molecule, anchors=anchors, count=1, seed=0)[0]
    adsorbed = engine.bonding(SLAB)
    adsorbed.make.original(adsorbed, pose.structure, ether_bonds(molecule, len(slab)))


@pytest.fixture(scope="module", params=LEVELS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of the inputs as written now, and of the golden ones."""
    folder = tmp_path_factory.mktemp("inputs") / "now"
    folder.mkdir()
    return written_beside(folder, GOLDEN / request.param, lambda: write_all(request.param, folder), FILES)


@pytest.mark.parametrize("file", ["INCAR", "KPOINTS", "POTCAR.spec", "lobsterin"])
def test_every_line_is_the_reviewed_one(written: tuple[Path, Path], file: str) -> None:
    now, golden = written
    names = [SLAB, FREE] if file == "lobsterin" else [PORE, SLAB, FREE]
    assert sorted(p.name for p in golden.iterdir()) == sorted(p.name for p in now.iterdir())
    for name in names:
        assert lines(now, name, file) == lines(golden, name, file), name


def test_atoms_counts_and_masks_are_the_reviewed_ones(written: tuple[Path, Path]) -> None:
    now, golden = written
    for name in (PORE, SLAB, FREE):
        found, wanted = ((root / name / "POSCAR").read_text().splitlines() for root in (now, golden))
        assert len(found) == len(wanted), name
        assert found[5:9] == wanted[5:9], name
        assert [line.split()[3:] for line in found[9:]] == [line.split()[3:] for line in wanted[9:]], name


def test_the_pore_is_the_papers_and_of_the_framework_hydrogen_alone_moves(
    written: tuple[Path, Path],
) -> None:
    now, _ = written
    lines = (now / PORE / "POSCAR").read_text().splitlines()
    assert dict(zip(lines[5].split(), map(int, lines[6].split()), strict=True)) == {
        "Na": 2, "Zn": 24, "C": 96 + 30, "H": 96 + 64, "N": 144 + 2, "S": 4, "O": 32 + 8, "F": 4,
    }  # fmt: skip
    free = [line.split()[3] == "T" for line in lines[9 : 9 + 506]]
    assert len(free) == 506
    assert sum(free) == 96 + 126 + 20
    incar = (now / PORE / "INCAR").read_text()
    for line in (
        "TEBEG = 353.15",
        "TEEND = 353.15",
        "POTIM = 1.0",
        "NSW = 13001",  # the start is the first of them
        "MDALGO = 2",
        "SMASS = 0.0",
    ):
        assert line in incar
    assert "1 1 1" in (now / PORE / "KPOINTS").read_text()


def test_bands_are_as_many_as_the_local_functions(written: tuple[Path, Path]) -> None:
    now, _ = written
    functions = {"H": 1, "C": 4, "N": 4, "O": 4, "F": 4, "Na": 4, "P": 4, "V": 9}
    for name in (SLAB, FREE):
        lines = (now / name / "POSCAR").read_text().splitlines()
        count = sum(functions[e] * int(n) for e, n in zip(lines[5].split(), lines[6].split(), strict=True))
        incar = (now / name / "INCAR").read_text()
        assert f"NBANDS = {count}\n" in incar
        assert "ISYM = 0\n" in incar
        assert "8*1.0" not in incar  # V5+ of the charged slab has no moment to begin with
        assert "LWAVE = True\n" in incar


def test_every_tag_is_reviewed_on_its_page(written: tuple[Path, Path]) -> None:
    _, golden = written
    assert list(golden.glob("*/INCAR"))
    assert not unreviewed(golden, ROOT / "docs" / "vasp-inputs.md")
