"""Anomalies of adsorbed molecules: known cases by name, and hundreds labelled by construction."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase.build import bulk, surface
from pymatgen.core.structure import Molecule, Structure

from epilayer.analysis import shapes
from epilayer.analysis.anomalies import closest_contact, find_anomalies
from epilayer.model.anomaly import Anomaly, AnomalyKind
from epilayer.model.errors import StructureError

ROOT = Path(__file__).resolve().parents[3]
WATER = Molecule(["O", "H", "H"], [[0, 0, 0], [0.757, 0, 0.586], [-0.757, 0, 0.586]])


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The generator of labelled trajectories, which the benchmark shares."""
    spec = importlib.util.spec_from_file_location("bench_anomalies", ROOT / "benchmarks" / "anomalies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def magnesia() -> Structure:
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 2, vacuum=11.0) * (2, 2, 1)
    return Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def over(slab: Structure, element: str, molecule: Molecule, height_ang: float) -> tuple[Structure, int]:
    """The molecule's first atom straight above a surface atom of an element."""
    top = max((i for i, s in enumerate(slab) if s.specie.symbol == element), key=lambda i: slab[i].z)
    coords = molecule.cart_coords - molecule.cart_coords[0] + slab[top].coords + [0, 0, height_ang]
    both = Structure(
        slab.lattice,
        [*slab.species, *molecule.species],
        [*slab.cart_coords, *coords],
        coords_are_cartesian=True,
    )
    return both, top


def moved(structure: Structure, indices: list[int], by: list[float]) -> Structure:
    result = structure.copy()
    result.translate_sites(indices, by, frac_coords=False)
    return result


def kinds(found: tuple[Anomaly, ...]) -> set[AnomalyKind]:
    return {anomaly.kind for anomaly in found}


def test_an_untouched_pose_has_no_finding(magnesia: Structure) -> None:
    pose, _ = over(magnesia, "Mg", WATER, 2.1)
    assert find_anomalies(pose, pose, clean_slab=magnesia, molecule=WATER) == ()


def test_leaving_is_desorption_and_names_the_last_contact(magnesia: Structure) -> None:
    pose, top = over(magnesia, "Mg", WATER, 2.1)
    n = len(magnesia)
    gone = moved(pose, [n, n + 1, n + 2], [0, 0, 4.0])
    (found,) = find_anomalies(pose, gone, clean_slab=magnesia, molecule=WATER)
    assert found.kind is AnomalyKind.DESORBED
    assert found.disqualifies
    assert found.atoms == (n, top)
    assert f"O{n}...Mg{top} at 6.10 A" in found.what
    assert found.unit == "A"
    assert found.value > found.threshold
    assert "\n" not in str(found)


def test_a_carried_proton_is_named_from_where_to_where(magnesia: Structure) -> None:
    donor = Molecule(["O", "H", "H"], [[0, 0, 0], [0, 0, -0.97], [0.9, 0, 0.3]])
    pose, top = over(magnesia, "O", donor, 2.7)
    n = len(magnesia)
    transferred = moved(pose, [n + 1], [0, 0, -0.75])
    (found,) = find_anomalies(pose, transferred, clean_slab=magnesia, molecule=donor)
    assert found.kind is AnomalyKind.HYDROGEN_TRANSFERRED
    assert found.what == f"H{n + 1} went from O{n} to O{top}"
    assert found.atoms == (n + 1, n, top)
    # Half way, it is a strong hydrogen bond.
    shared = moved(pose, [n + 1], [0, 0, -0.12])
    assert find_anomalies(pose, shared, clean_slab=magnesia, molecule=donor) == ()


def test_a_proton_taken_from_a_hydroxylated_surface_is_named(magnesia: Structure) -> None:
    wet, top = over(magnesia, "O", Molecule(["H"], [[0, 0, 0]]), 0.97)
    h = len(magnesia)
    ammonia = Molecule(
        ["N", "H", "H", "H"], [[0, 0, 0], [0.94, 0, 0.38], [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]]
    )
    pose, _ = over(wet, "H", ammonia, 1.7)
    protonated = moved(pose, [h], [0, 0, 0.66])
    (found,) = find_anomalies(pose, protonated, clean_slab=wet, molecule=ammonia)
    assert found.what == f"H{h} went from O{top} to N{h + 1}"


def test_a_pulled_surface_atom_is_a_changed_surface(magnesia: Structure) -> None:
    pose, top = over(magnesia, "Mg", WATER, 2.1)
    n = len(magnesia)
    pulled = moved(pose, [top, n, n + 1, n + 2], [0, 0, 2.0])
    found = find_anomalies(pose, pulled, clean_slab=magnesia, molecule=WATER)
    assert kinds(found) == {AnomalyKind.SURFACE_CHANGED}
    assert any(f"Mg{top}" in anomaly.what for anomaly in found)


def test_a_drift_of_everything_is_nothing(magnesia: Structure) -> None:
    pose, _ = over(magnesia, "Mg", WATER, 2.1)
    for shift in ([0.7, 0.4, 0.0], [3.1, -2.0, 5.0], [0.0, 0.0, -9.0]):
        drifted = moved(pose, list(range(len(pose))), shift)
        assert find_anomalies(pose, drifted, clean_slab=magnesia, molecule=WATER) == ()


@pytest.mark.parametrize(("by_ang", "changed"), [(0.7, False), (0.95, False), (1.4, True)])
def test_sodium_has_its_window(by_ang: float, changed: bool) -> None:
    atoms = surface(bulk("NaF", "rocksalt", a=4.634, cubic=True), (0, 0, 1), 2, vacuum=11.0) * (2, 2, 1)
    slab = Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())
    pose, top = over(slab, "Na", WATER, 2.4)
    n = len(slab)
    final = moved(pose, [top, n, n + 1, n + 2], [0, 0, by_ang])
    found = find_anomalies(pose, final, clean_slab=slab, molecule=WATER)
    assert (AnomalyKind.SURFACE_CHANGED in kinds(found)) is changed


def test_notes_do_not_disqualify() -> None:
    notes = {kind for kind in AnomalyKind if not _anomaly(kind).disqualifies}
    assert notes == {AnomalyKind.RING_LAID_DOWN, AnomalyKind.LIGAND_ION_REPULSION}


def _anomaly(kind: AnomalyKind) -> Anomaly:
    return Anomaly(kind=kind, atoms=(0,), what="x", value=1.0, threshold=0.5, unit="A", remedy="y")


def test_an_anomaly_survives_the_store() -> None:
    one = _anomaly(AnomalyKind.DESORBED)
    assert Anomaly.model_validate_json(one.model_dump_json()) == one


def test_the_closest_contact_is_the_hardest_one(magnesia: Structure) -> None:
    pose, top = over(magnesia, "Mg", WATER, 2.1)
    label, distance = closest_contact(pose, len(magnesia))
    assert label == f"O{len(magnesia)}...Mg{top}"
    assert distance == pytest.approx(2.1)


def test_a_molecule_cut_by_its_box_is_still_whole(magnesia: Structure) -> None:
    pose, _ = over(magnesia, "Mg", WATER, 2.1)
    box = Structure(
        [[16, 0, 0], [0, 16, 0], [0, 0, 16]], WATER.species, WATER.cart_coords, coords_are_cartesian=True
    )
    cut = Structure(box.lattice, box.species, box.frac_coords % 1.0)
    assert find_anomalies(pose, pose, clean_slab=magnesia, molecule=cut) == ()


@pytest.mark.parametrize("wrong", ["order", "slab", "final"])
def test_structures_of_different_calculations_are_refused(magnesia: Structure, wrong: str) -> None:
    pose, _ = over(magnesia, "Mg", WATER, 2.1)
    final, clean, molecule = pose, magnesia, WATER
    if wrong == "order":
        molecule = Molecule(["H", "O", "H"], WATER.cart_coords)
    elif wrong == "slab":
        clean = Structure.from_sites(list(magnesia)[::-1])
    else:
        final = Structure.from_sites(list(pose)[:-1])
    with pytest.raises(StructureError):
        find_anomalies(pose, final, clean_slab=clean, molecule=molecule)


def test_puckering_of_a_chair_is_the_textbook_one() -> None:
    angles = np.arange(6) * np.pi / 3
    chair = np.stack([1.45 * np.cos(angles), 1.45 * np.sin(angles), 0.25 * (-1.0) ** np.arange(6)], axis=1)
    assert shapes.pucker_ang(chair) == pytest.approx(0.25 * np.sqrt(6))
    assert shapes.pucker_ang(chair * [1, 1, 0]) == pytest.approx(0.0, abs=1e-12)
    assert shapes.inclination_deg(chair) == pytest.approx(0.0, abs=1e-6)


def test_rings_are_found_once_each() -> None:
    naphthalene = [(i, i + 1) for i in range(9)] + [(0, 9), (0, 5)]
    assert sorted(len(ring) for ring in shapes.find_rings(naphthalene)) == [6, 6]
    assert shapes.find_rings([(0, 1), (1, 2)]) == []


@pytest.mark.slow
def test_labelled_trajectories_are_told_apart(bench: ModuleType) -> None:
    """A draw other than the benchmark's; at least 0.95 in every class, and no sound pose condemned."""
    labelled = list(bench.cases(24, seed=2026))
    assert len(labelled) >= 300
    found = [bench.ours(case) for case in labelled]
    for kind in set().union(*(case.truth for case in labelled)):
        truth = [kind in case.truth for case in labelled]
        assert sum(truth) >= 20
        _, _, f1 = bench.scores(truth, [kind in said for said in found])
        assert f1 >= 0.95, kind
    sound = [said for case, said in zip(labelled, found, strict=True) if not case.truth]
    assert sum(bool(said) for said in sound) <= 0.02 * len(sound)
