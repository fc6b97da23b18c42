"""The engine contract: every engine in configs/engines that runs on this machine passes one suite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Lattice, Structure

from cut_trajectories import frames
from epilayer.engines.base import Engine, MdEngine
from epilayer.engines.gpaw import setup as gpaw_setup
from epilayer.engines.gpaw.engine import GpawEngine
from epilayer.engines.mlip import calculators
from epilayer.engines.mlip.engine import MlipEngine
from epilayer.model.dynamics import DynamicsSettings, Thermostat
from epilayer.model.errors import EngineError, StructureError
from epilayer.model.level import (
    Convergence,
    Dispersion,
    EngineKind,
    EngineSpec,
    Level,
    LevelOfTheory,
)
from epilayer.model.vasp import SystemKind
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import TrajectoryFolder

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.model.dynamics import Segment
    from epilayer.model.gpaw import GpawSettings
    from epilayer.model.records import Calculation

CATALOGUE = Catalogue((shipped("configs"),))
EMBEDDED = [
    name
    for name in CATALOGUE.names("engines")
    if CATALOGUE.engine_spec(name).kind in (EngineKind.MLIP, EngineKind.TOY)
]
TARGET_EV_PER_ANG = 0.05
SYMMETRY_EV = {EngineKind.TOY: 1e-9, EngineKind.MLIP: 2e-4, EngineKind.DFT: 1e-3}
"""The potentials compute in single precision."""


@pytest.fixture(
    params=[pytest.param(n, marks=[] if n == "toy" else [pytest.mark.slow]) for n in EMBEDDED],
)
def spec(request: pytest.FixtureRequest) -> EngineSpec:
    return CATALOGUE.engine_spec(request.param)


@pytest.fixture(
    params=[pytest.param(n, marks=[] if n == "toy" else [pytest.mark.slow]) for n in (*EMBEDDED, "gpaw")]
)
def any_engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MlipEngine | GpawEngine:
    if request.param == "gpaw":
        try:
            gpaw_setup.command()
        except EngineError as error:
            pytest.skip(f"the contract is NOT checked with GPAW: {error.what}")
    monkeypatch.chdir(tmp_path)
    return with_dispersion(CATALOGUE.engine_spec(request.param))


@pytest.fixture
def engine(spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlipEngine:
    monkeypatch.chdir(tmp_path)  # jobs write where they stand
    return with_dispersion(spec)


def with_dispersion(spec: EngineSpec, dispersion: Dispersion | None = None) -> Any:  # noqa: ANN401
    """Return an engine at a level of the tests'; of density-functional theory, a cheap one."""
    level = Level(
        name=f"{spec.name} in tests",
        title="",
        engine=spec.name,
        source="tests",
        dispersion=dispersion,
        convergence=Convergence(max_force_ev_per_ang=TARGET_EV_PER_ANG, max_steps=200),
        gpaw=gamma_only(CATALOGUE.level("pbe-400+d3").gpaw) if spec.name == "gpaw" else None,
    )
    return GpawEngine(spec, level) if spec.name == "gpaw" else MlipEngine(spec, level)


def gamma_only(settings: GpawSettings | None) -> GpawSettings:
    assert settings is not None
    molecule = settings.systems[SystemKind.MOLECULE]
    return settings.model_copy(update={"systems": dict.fromkeys(SystemKind, molecule)})


def start_for(engine: MlipEngine | GpawEngine) -> Structure:
    """Return a contact whose lower part is held; for density-functional theory a hydrogen molecule."""
    if isinstance(engine, MlipEngine):
        return contact()
    return Structure(
        Lattice.orthorhombic(5.0, 5.5, 6.0),
        ["H", "H"],
        [[2.5, 2.5, 2.5], [2.5, 2.6, 3.4]],
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": [[False] * 3, [True] * 3]},
        properties={"system": "molecule"},
    )


def contact() -> Structure:
    """Water over two layers of rock-salt MgO, lower layer held: 8 + 3 atoms, some of which must move."""
    half_ang = 2.106
    species, coords, free = [], [], []
    for layer in range(2):
        for i in range(2):
            for j in range(2):
                species.append("Mg" if (i + j + layer) % 2 == 0 else "O")
                coords.append([i * half_ang, j * half_ang, layer * half_ang])
                free.append([layer == 1] * 3)
    water = np.array([[0.0, 0.0, 0.0], [0.757, 0.0, 0.587], [-0.757, 0.0, 0.587]])
    species += ["O", "H", "H"]
    coords += list(water + np.array([0.0, half_ang, half_ang + 2.6]))
    free += [[True] * 3] * 3
    return Structure(
        Lattice.orthorhombic(2 * half_ang, 2 * half_ang, 18.0),
        species,
        coords,
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": free},
    )


def compute(maker: Any, structure: Structure) -> Calculation:  # noqa: ANN401
    """Run the job's function here and now."""
    output: Calculation = maker.make.original(maker, structure)
    return output


def energy_ev(engine: MlipEngine | GpawEngine, structure: Structure) -> float:
    return compute(engine.static("point"), structure).energy_ev


def test_it_is_an_engine(any_engine: MlipEngine | GpawEngine) -> None:
    assert isinstance(any_engine, Engine)
    for value in (any_engine, any_engine.relax("r"), any_engine.static("s")):
        assert json.loads(json.dumps(value, cls=MontyEncoder), cls=MontyDecoder) == value


def test_it_runs_dynamics(engine: MlipEngine) -> None:
    assert isinstance(engine, MdEngine)
    assert engine.stand_in is (engine.spec.kind is EngineKind.TOY)


def test_engine_and_makers_travel_as_json(engine: MlipEngine) -> None:
    segment = engine.segment("m", DynamicsSettings(steps=3), TrajectoryFolder())
    tight = Convergence(max_force_ev_per_ang=0.01)
    for value in (engine, engine.relax("r", tight), engine.static("s"), segment):
        again = json.loads(json.dumps(value, cls=MontyEncoder), cls=MontyDecoder)
        assert again == value
        assert type(again) is type(value)
    again = json.loads(json.dumps(engine.relax("r", tight), cls=MontyEncoder), cls=MontyDecoder)
    assert again.convergence == tight
    assert again.engine.executed() == engine.executed()


def test_relax_reaches_the_asked_force_and_moves_what_is_free_only(
    any_engine: MlipEngine | GpawEngine,
) -> None:
    start = start_for(any_engine)
    done = compute(any_engine.relax("relax"), start)
    assert done.ionic_converged
    assert done.max_force_ev_per_ang <= TARGET_EV_PER_ANG == done.force_target_ev_per_ang
    assert done.energies_ev[-1] == done.energy_ev
    assert done.max_forces_ev_per_ang[-1] == done.max_force_ev_per_ang
    assert len(done.energies_ev) == len(done.max_forces_ev_per_ang) > 1
    assert done.energy_ev < done.energies_ev[0]
    moved = np.linalg.norm(done.structure.cart_coords - start.cart_coords, axis=1)
    free = np.array(start.site_properties["selective_dynamics"]).all(axis=1)
    assert moved[~free] == pytest.approx(0.0, abs=1e-9)
    assert moved[-3:].max() > 0.01
    assert np.allclose(done.structure.lattice.matrix, start.lattice.matrix, atol=1e-12)
    assert done.structure.species == start.species
    kept = [list(map(bool, f)) for f in done.structure.site_properties["selective_dynamics"]]
    assert kept == [list(f) for f in start.site_properties["selective_dynamics"]]


def test_too_few_steps_are_not_called_converged(any_engine: MlipEngine | GpawEngine) -> None:
    few = Convergence(max_force_ev_per_ang=1e-4, max_steps=2)
    done = compute(any_engine.relax("r", few), start_for(any_engine))
    assert not done.ionic_converged
    assert len(done.energies_ev) == 3


def test_static_leaves_the_structure_and_agrees_with_the_last_step_of_relax(
    any_engine: MlipEngine | GpawEngine,
) -> None:
    relaxed = compute(any_engine.relax("relax"), start_for(any_engine))
    point = compute(any_engine.static("point"), relaxed.structure)
    assert point.structure.cart_coords == pytest.approx(relaxed.structure.cart_coords, abs=1e-12)
    assert len(point.energies_ev) == 1
    assert point.force_target_ev_per_ang is None
    if any_engine.stand_in:
        # The toy's springs begin at rest in whatever they are given; what was left in them is released.
        assert point.energy_ev <= relaxed.energy_ev
        assert point.energy_ev == pytest.approx(relaxed.energy_ev, abs=0.1)
    else:
        assert point.energy_ev == pytest.approx(relaxed.energy_ev, abs=1e-4)
        assert point.max_force_ev_per_ang == pytest.approx(relaxed.max_force_ev_per_ang, abs=2e-3)


def test_the_same_job_twice_gives_the_same_numbers(any_engine: MlipEngine | GpawEngine) -> None:
    quick = Convergence(max_force_ev_per_ang=TARGET_EV_PER_ANG, max_steps=4)
    start = start_for(any_engine)
    one, two = (compute(any_engine.relax("relax", quick), start) for _ in range(2))
    if isinstance(any_engine, MlipEngine):
        assert one.energies_ev == two.energies_ev
        assert np.array_equal(one.structure.frac_coords, two.structure.frac_coords)
    else:  # a program of its own plans its Fourier transforms by the addresses that it gets
        assert one.energies_ev == pytest.approx(two.energies_ev, rel=0, abs=1e-9)
        assert one.structure.frac_coords == pytest.approx(two.structure.frac_coords, rel=0, abs=1e-9)


def test_energy_does_not_depend_on_frame_or_numbering(
    any_engine: MlipEngine | GpawEngine,
) -> None:
    structure = start_for(any_engine)
    reference = energy_ev(any_engine, structure)
    tolerance = SYMMETRY_EV[any_engine.spec.kind]
    shifted = structure.copy()
    shifted.translate_sites(range(len(shifted)), [0.31, 0.17, 0.43])
    assert energy_ev(any_engine, shifted) == pytest.approx(reference, abs=tolerance)
    order = np.random.default_rng(1).permutation(len(structure))
    assert energy_ev(any_engine, Structure.from_sites([structure[i] for i in order])) == pytest.approx(
        reference, abs=tolerance
    )
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turned = Structure(
        Lattice(structure.lattice.matrix @ rotation.T), structure.species, structure.frac_coords
    )
    assert energy_ev(any_engine, turned) == pytest.approx(reference, abs=tolerance)


def test_every_result_says_at_which_level_and_from_which_bytes(engine: MlipEngine, tmp_path: Path) -> None:
    done = compute(engine.static("point"), contact())
    assert done.level == engine.executed()
    assert done.level.stand_in is engine.stand_in
    if engine.spec.weights is not None:
        assert done.level.weights_sha256 == engine.spec.weights.sha256
    assert done.provenance.run_directory == str(tmp_path)
    assert set(done.provenance.files) == {"relaxation.extxyz"}
    assert {"epilayer", "ase", "pymatgen"} <= set(done.provenance.versions)
    again = json.loads(json.dumps(done, cls=MontyEncoder), cls=MontyDecoder)
    assert again == done


def test_the_trajectory_file_holds_every_step(any_engine: MlipEngine | GpawEngine, tmp_path: Path) -> None:
    from ase.io import read

    done = compute(
        any_engine.relax("relax", Convergence(max_force_ev_per_ang=TARGET_EV_PER_ANG, max_steps=5)),
        start_for(any_engine),
    )
    frames = read(tmp_path / "relaxation.extxyz", index=":")
    assert [f.get_potential_energy() for f in frames] == pytest.approx(list(done.energies_ev), abs=1e-6)
    offset = frames[-1].get_scaled_positions(wrap=False) - done.structure.frac_coords
    assert np.abs(offset - np.round(offset)).max() < 1e-6


def test_the_level_is_its_settings_and_not_its_name(spec: EngineSpec) -> None:
    plain, same = with_dispersion(spec), with_dispersion(spec)
    renamed = MlipEngine(spec, plain.level.model_copy(update={"name": "another", "title": "another"}))
    dispersed = with_dispersion(spec, Dispersion())
    other = with_dispersion(spec, Dispersion(functional="rpbe"))
    fingerprints = [e.executed().fingerprint for e in (plain, same, renamed, dispersed, other)]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]
    assert len(set(fingerprints)) == 3


def test_dispersion_is_the_difference_at_one_geometry(any_engine: MlipEngine | GpawEngine) -> None:
    structure = start_for(any_engine)
    dispersed = with_dispersion(any_engine.spec, Dispersion())
    plain, both = (compute(e.static("point"), structure) for e in (any_engine, dispersed))
    assert plain.dispersion_energy_ev is None
    assert both.dispersion_energy_ev is not None
    assert both.dispersion_energy_ev < 0
    assert both.energy_ev - plain.energy_ev == pytest.approx(both.dispersion_energy_ev, abs=1e-4)
    relaxed = compute(dispersed.relax("relax"), structure)
    again = compute(dispersed.static("point"), relaxed.structure)
    assert relaxed.dispersion_energy_ev == pytest.approx(again.dispersion_energy_ev, abs=1e-6)


def test_dynamics_run_and_follow_their_seed(
    engine: MlipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = contact()

    def run(seed: int) -> Segment:
        settings = DynamicsSettings(
            temperature_k=300.0, time_step_fs=0.5, steps=6, seed=seed, thermostat=Thermostat.LANGEVIN
        )
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        maker: Any = engine.segment("dynamics", settings, TrajectoryFolder())
        done: Segment = maker.make.original(maker, start)
        return done

    one, two, other = run(7), run(7), run(8)
    steps, positions, energies = frames(one)
    assert steps == list(range(7))
    assert np.array_equal(positions, frames(two)[1])
    assert np.array_equal(energies, frames(two)[2])
    assert not np.array_equal(energies, frames(other)[2])
    # The energy is that of the structure which is handed on.
    assert one.energy_ev == energies[-1]
    if not engine.stand_in:
        assert energy_ev(engine, one.structure) == pytest.approx(one.energy_ev, abs=1e-4)
    moved = np.linalg.norm(one.structure.cart_coords - start.cart_coords, axis=1)
    assert moved[:4] == pytest.approx(0.0, abs=1e-9)
    assert moved[4:].min() > 0


def test_a_disordered_structure_is_refused(any_engine: MlipEngine | GpawEngine) -> None:
    mixed = Structure(Lattice.cubic(4.0), [{"Na": 0.75, "Li": 0.25}], [[0, 0, 0]])
    for maker in (any_engine.relax("mixed"), any_engine.static("mixed")):
        with pytest.raises(StructureError, match="disordered") as caught:
            compute(maker, mixed)
        assert "ordering" in caught.value.remedy


def test_other_weights_than_described_are_refused(engine: MlipEngine, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"not what was asked for")
    weights = {"path": file, "sha256": "0" * 64}
    changed = MlipEngine(
        EngineSpec.model_validate({**engine.spec.model_dump(), "weights": weights}), engine.level
    )
    with pytest.raises(EngineError, match=r"expected 000000000000") as caught:
        compute(changed.static("point"), contact())
    assert caught.value.remedy


def test_missing_weights_are_named_with_the_remedy(engine: MlipEngine, tmp_path: Path) -> None:
    weights = {"path": tmp_path / "gone.pt"}
    changed = MlipEngine(
        EngineSpec.model_validate({**engine.spec.model_dump(), "weights": weights}), engine.level
    )
    with pytest.raises(EngineError, match=r"no weights at .*gone\.pt") as caught:
        changed.executed()
    assert "weights.path" in caught.value.remedy


def mlip(**changes: Any) -> EngineSpec:  # noqa: ANN401
    fields = {"name": "mine", "title": "", "kind": "mlip", "method": "mine", "source": "tests"}
    return EngineSpec.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("spec_of_mine", "words", "remedy"),
    [
        (mlip(package="nosuchpackage", force_field="CHGNet"), "nosuchpackage", "pip install nosuchpackage"),
        (mlip(weights={"package": "nosuchpackage", "path": "w.pt"}), "nosuchpackage", "pip install"),
        (mlip(force_field="NoSuchField"), "NoSuchField", "force_field"),
        (mlip(), "force field None", "force_field"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(spec_of_mine: EngineSpec, words: str, remedy: str) -> None:
    with pytest.raises(EngineError) as caught:
        calculators.load(spec_of_mine.model_dump(mode="json"))
    assert words in caught.value.what
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_functional_without_d3_parameters_is_named() -> None:
    with pytest.raises(EngineError, match="'b3lipop'"):
        calculators.dispersion_calculator(Dispersion(functional="b3lipop"))


def test_a_missing_dispersion_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dftd3", None)
    with pytest.raises(EngineError, match="'dftd3' is not installed") as caught:
        with_dispersion(CATALOGUE.engine_spec("toy"), Dispersion()).executed()
    assert "pip install" in caught.value.remedy


def test_replaced_weights_are_another_level(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    spec_of_mine = mlip(kind="toy", weights={"path": file})
    levels: list[LevelOfTheory] = []
    for content in (b"one", b"two and longer"):
        file.write_bytes(content)
        levels.append(with_dispersion(spec_of_mine).executed())
    assert levels[0].fingerprint != levels[1].fingerprint
