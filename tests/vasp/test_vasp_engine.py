"""The VASP engine against the stand-in: inputs written, custodian run, outputs parsed as executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.engines.base import Engine
from epilayer.flows.adsorption import facet_slab
from epilayer.model.errors import EngineError
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.engines.vasp.engine import VaspEngine, VaspMaker
    from epilayer.model.records import Calculation


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue((shipped("configs"),))


def engine_of(catalogue: Catalogue, level: str = "paper", **convergence: float) -> VaspEngine:
    return catalogue.engine(level, catalogue.cathode("nvopf"), **convergence)


def box_of(catalogue: Catalogue, ligand: str = "triazole") -> Structure:
    return molecules.in_box(molecules.build(catalogue.ligand(ligand), 0), vacuum_ang=15.0)


def run(maker: VaspMaker, structure: Structure, where: Path, monkeypatch: pytest.MonkeyPatch) -> Calculation:
    where.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(where)
    return maker.make.original(maker, structure)


def test_it_satisfies_the_engine_protocol(catalogue: Catalogue) -> None:
    assert isinstance(engine_of(catalogue), Engine)


@pytest.mark.usefixtures("vasp")
def test_molecule_relaxes_through_custodian(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = box_of(catalogue)
    box.perturb(0.05)
    done = run(engine_of(catalogue).relax("molecule"), box, tmp_path / "m", monkeypatch)
    assert done.level.stand_in
    assert done.ionic_converged
    assert done.electronic_converged
    assert done.max_force_ev_per_ang <= 0.02
    assert done.energy_ev < 0
    assert done.structure.species == box.species
    assert done.level.system["k_mesh"] == "1x1x1 Gamma"
    assert done.level.numerics["ENCUT"] == 500.0
    assert "stand-in" in done.level.method
    assert np.abs(done.structure.cart_coords - box.cart_coords).max() < 1.0


@pytest.mark.usefixtures("vasp")
def test_slab_keeps_held_atoms_and_order(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slab = facet_slab(catalogue.cathode("nvopf"), "001").structure
    done = run(
        engine_of(catalogue, "paper+u+d3", max_steps=3).relax("slab"), slab, tmp_path / "s", monkeypatch
    )
    held = [not any(f) for f in slab.site_properties["selective_dynamics"]]
    moved = np.linalg.norm(done.structure.cart_coords - slab.cart_coords, axis=1)
    assert moved[held].max() < 1e-6
    assert done.structure.species == slab.species
    assert done.magnetic_moments_mu_b is not None
    vanadium = [m for m, s in zip(done.magnetic_moments_mu_b, slab, strict=True) if s.specie.symbol == "V"]
    assert set(vanadium) == {1.0}
    assert "U=3.25 eV" in done.level.elements["V"]
    assert "no U" in done.level.elements["O"]
    assert done.level.dispersion == "D3(BJ)"
    assert done.dispersion_energy_ev == pytest.approx(-0.05 * len(slab))
    assert done.level.system["dipole"] == "along 3"
    assert done.level.declared["k_mesh"] == done.level.system["k_mesh"] == "2x2x1 Gamma"


def test_missing_setup_is_refused_before_anything_runs(
    catalogue: Catalogue, vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import atomate2
    import pymatgen.core

    maker, box = engine_of(catalogue).relax("m"), box_of(catalogue)
    with monkeypatch.context() as patch:
        patch.setattr(atomate2.SETTINGS, "VASP_CMD", "no_such_vasp")
        with pytest.raises(EngineError, match=r"no program 'no_such_vasp'.*ATOMATE2_VASP_CMD"):
            run(maker, box, tmp_path / "a", patch)
    with monkeypatch.context() as patch:
        patch.setattr(atomate2.SETTINGS, "VASP_GAMMA_CMD", "no_such_gam")
        with pytest.raises(EngineError, match=r"VASP_GAMMA_CMD"):
            run(maker, box, tmp_path / "b", patch)
    with monkeypatch.context() as patch:
        patch.setattr(atomate2.SETTINGS, "VASP_CMD", vasp["ATOMATE2_VASP_GAMMA_CMD"])
        with pytest.raises(EngineError, match=r"Gamma-only"):
            run(maker, box, tmp_path / "c", patch)
    with monkeypatch.context() as patch:
        patch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
        with pytest.raises(EngineError, match=r"PMG_VASP_PSP_DIR is not set.*pmg config"):
            run(maker, box, tmp_path / "d", patch)
    for folder in "abcd":
        assert not list((tmp_path / folder).iterdir())
