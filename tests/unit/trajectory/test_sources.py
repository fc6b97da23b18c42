"""The other readers against pymatgen and ASE."""

from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from epilayer.model.errors import InputError
from epilayer.trajectory import Trajectory, ingest, open_source

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"the real outputs are not at {REAL}; set EPILAYER_REAL_DATA")
    return path


def stored(path: Path, tmp_path: Path, **options: object) -> Trajectory:
    target = tmp_path / "t.h5"
    ingest(open_source(path, **options), target)
    return Trajectory(target)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "step_fs"),
    [
        ("vasp_misc/vasprun.md.xml.gz", 3.0),
        ("vasp_Si_md/Si_multi_md/molecular_dynamics_2/outputs/vasprun.xml.gz", 1.0),
        ("vasp_Au_O_adsorption_flow/slab_relax/outputs/vasprun.xml.gz", None),
    ],
)
def test_vasprun_equals_pymatgen(name: str, step_fs: float | None, tmp_path: Path) -> None:
    path = real(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.io.vasp.outputs import Vasprun

        peer = Vasprun(str(path), parse_potcar_file=False, parse_dos=False, parse_eigen=False)
    with stored(path, tmp_path) as found:
        assert found.header.time_step_fs == step_fs
        assert np.array_equal(found.positions(), [s["structure"].frac_coords for s in peer.ionic_steps])
        last = [s["electronic_steps"][-1]["e_0_energy"] for s in peer.ionic_steps]
        assert np.allclose(found.energies_ev(), last, rtol=0, atol=1e-10)
        if step_fs is not None:
            assert abs(found.temperatures_k()[0] - {3.0: 2000.0, 1.0: 276.784}[step_fs]) < 0.02


@pytest.mark.real_data
def test_vasprun_of_a_killed_run_reads_its_whole_steps(tmp_path: Path) -> None:
    text = gzip.decompress(real("vasp_misc/vasprun.md.xml.gz").read_bytes())
    at = [i for i in range(len(text)) if text.startswith(b"</calculation>", i)]
    (tmp_path / "vasprun.xml").write_bytes(text[: at[6] + 500])
    with stored(tmp_path / "vasprun.xml", tmp_path) as found:
        assert len(found) == 7
    (tmp_path / "vasprun.xml").write_bytes(text[: at[0] - 500])
    with pytest.raises(InputError, match="no complete ionic step"):
        ingest(open_source(tmp_path / "vasprun.xml"), tmp_path / "u.h5")
    (tmp_path / "vasprun.xml").write_text("<html></html>")
    with pytest.raises(InputError, match=r"not a vasprun\.xml"):
        open_source(tmp_path / "vasprun.xml")


@pytest.mark.real_data
def test_outcar_agrees_with_vasprun(tmp_path: Path) -> None:
    folder = "vasp_Si_md/Si_multi_md/molecular_dynamics_1/outputs"
    with stored(real(f"{folder}/OUTCAR.gz"), tmp_path) as outcar:
        cartesian, energies = outcar.positions(), outcar.energies_ev()
    with stored(real(f"{folder}/vasprun.xml.gz"), tmp_path) as vasprun:
        expected = np.einsum("fai,fij->faj", vasprun.positions(), vasprun.cells_ang())
        moved = (cartesian - expected) @ np.linalg.inv(vasprun.cells_ang()[0])
        assert np.abs(moved - np.rint(moved)).max() < 2e-5  # an OUTCAR has five decimals
        assert np.allclose(energies, vasprun.energies_ev(), atol=1e-6)


def frames(n: int = 20) -> list[Atoms]:
    rng = np.random.default_rng(2)
    made = []
    for k in range(n):
        cell = np.array([[9.0, 0, 0], [2.0, 8.0 + 0.01 * k, 0], [1.0, -1.0, 7.0]])
        atoms = Atoms("NaOO", positions=rng.normal(size=(3, 3)) * 5, cell=cell, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=-k / 7.0)
        made.append(atoms)
    return made


@pytest.mark.parametrize("name", ["run.traj", "run.extxyz"])
def test_ase_formats_are_kept_to_the_bit(name: str, tmp_path: Path) -> None:
    made = frames()
    ase.io.write(tmp_path / name, made)
    again = ase.io.read(tmp_path / name, index=":")
    with stored(tmp_path / name, tmp_path, time_step_fs=2.0) as found:
        assert found.header.coordinates == "cartesian"
        assert np.array_equal(found.positions(), [a.positions for a in again])
        assert np.array_equal(found.cells_ang(), [np.asarray(a.cell) for a in again])
        assert np.allclose(found.energies_ev(), [-k / 7.0 for k in range(20)])


def test_ase_frames_of_other_atoms_and_broken_files_are_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", [*frames(3), frames(1)[0][:2]])
    with pytest.raises(InputError, match="species change at frame 4"):
        ingest(open_source(tmp_path / "a.extxyz"), tmp_path / "t.h5")
    text = (tmp_path / "a.extxyz").read_text()
    (tmp_path / "b.extxyz").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="cannot be read as a trajectory"):
        ingest(open_source(tmp_path / "b.extxyz"), tmp_path / "t.h5")


def test_vaspout_h5_reads_the_dynamics_alone(tmp_path: Path) -> None:
    import h5py

    rng = np.random.default_rng(0)
    positions, cells = rng.random((90, 3, 3)), np.broadcast_to(9.0 * np.eye(3), (90, 3, 3))
    with h5py.File(tmp_path / "vaspout.h5", "w") as file:
        file["intermediate/ion_dynamics/position_ions"] = positions
        file["intermediate/ion_dynamics/lattice_vectors"] = cells
        file["intermediate/ion_dynamics/energies"] = np.stack([np.arange(90.0), np.arange(90.0) - 5], axis=1)
        file["intermediate/ion_dynamics/energies_tags"] = np.array(
            [b"free energy  TOTEN", b"energy(sigma->0)"]
        )
        file["results/positions/ion_types"] = np.array([b"Na", b"O "])
        file["results/positions/number_ion_types"] = [1, 2]
        file["input/incar/POTIM"] = 1.5
    with stored(tmp_path / "vaspout.h5", tmp_path) as found:
        assert found.header.symbols == ("Na", "O", "O")
        assert found.header.time_step_fs == 1.5
        assert np.array_equal(found.positions(), positions)
        assert np.array_equal(found.energies_ev(), np.arange(90.0) - 5)
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(InputError, match=r"not a vaspout\.h5"):
        open_source(tmp_path / "other.h5")
