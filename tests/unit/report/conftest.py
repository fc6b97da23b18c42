"""Small synthetic records: a made-up oxide slab with a molecule on it, at levels that were never run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.growth import growth_verdict
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import (
    AdsorptionEnergy,
    Calculation,
    GrowthMode,
    Leg,
    PoseOutcome,
    Provenance,
    Refusal,
    RefusalCode,
    Status,
    Uncertainty,
)
from epilayer.model.reference import PublishedGrowth, PublishedValue, Reference, SilentChoice

N_SLAB = 16


def adslab() -> tuple[Structure, tuple[int, ...]]:
    """Two layers of VO with Na on top, the lower held, and a bent N-H-C fragment standing on V."""
    lattice = Lattice.orthorhombic(8.0, 8.4, 25.0)
    species, coords, free = [], [], []
    for layer, (i, j) in ((k, ij) for k in (0, 1) for ij in np.ndindex(2, 2)):
        here = np.array([4.0 * i, 4.2 * j, 1.0 + 2.4 * layer])
        species += ["V", "O"]
        coords += [here, here + np.array([2.0, 0.0, 0.1])]
        free += [[layer == 1] * 3] * 2
    molecule = ["N", "C", "H", "H"]
    base = np.array([4.0, 4.2, 3.4 + 2.2])
    positions = base + np.array([[0, 0, 0], [0.9, 0, 1.0], [0.6, 0.3, 2.0], [-0.95, 0, 0.35]])
    species += molecule
    coords += list(positions)
    free += [[True] * 3] * 4
    structure = Structure(
        lattice, species, coords, coords_are_cartesian=True, site_properties={"selective_dynamics": free}
    )
    return structure, tuple(range(N_SLAB, N_SLAB + 4))


def level(name: str = "chgnet+d3", kind: EngineKind = EngineKind.MLIP) -> LevelOfTheory:
    return LevelOfTheory(
        name=name,
        kind=kind,
        method=f"{name.partition('+')[0]} (machine-learned potential)",
        dispersion="D3(BJ), PBE parameters" if "d3" in name else None,
        weights_sha256="ab" * 32,
        numerics={"max_force_ev_per_ang": 0.05},
        stand_in=kind is EngineKind.TOY,
    )


def adsorption(
    value_ev: float | None = -0.39,
    *,
    ligand: str = "triazole",
    facet: str = "001",
    at: LevelOfTheory | None = None,
    less_dispersion_ev: float | None = 0.03,
    **changes: Any,  # noqa: ANN401
) -> AdsorptionEnergy:
    structure, atoms = adslab()
    at = at or level()
    refused = value_ev is None
    provenance = Provenance(
        job="job-1",
        run_directory="runs/ab/cd",
        files={"outputs.json.gz": "cd" * 32},
        versions={"chgnet": "0.4.2"},
    )
    legs = tuple(
        Leg(
            role=role,
            energy_ev=energy,
            dispersion_energy_ev=-1.0,
            max_force_ev_per_ang=0.041,
            steps=37,
            residual_ev=0.002,
            formula="V8 O8",
            level_fingerprint=at.fingerprint,
            provenance=provenance,
        )
        for role, energy in (("slab", -500.0), ("molecule", -50.0), ("adslab", -550.39))
    )
    poses = (
        PoseOutcome(
            label="00-n-V",
            anchor="pyridine_n",
            site="V13",
            stage="relaxed",
            adsorption_energy_ev=-0.39,
            converged=True,
        ),
        PoseOutcome(
            label="01-h-O",
            anchor="n_h",
            site="O3",
            stage="placed",
            adsorption_energy_ev=-0.1,
            converged=False,
        ),
    )
    refusal = Refusal(
        code=RefusalCode.FORCES_NOT_CONVERGED,
        subject="slab",
        what="slab: largest force 0.210 eV/A, target 0.050 eV/A, after 400 steps",
        remedy="rerun with more steps (--set max_steps=800)",
    )
    fields: dict[str, Any] = {
        "cathode": "nvopf",
        "facet": facet,
        "termination": "Na-F, shift 0.25",
        "ligand": ligand,
        "level": at,
        "status": Status.REFUSED if refused else Status.CERTIFIED,
        "adsorption_energy_ev": value_ev,
        "uncertainty_ev": None if refused else 0.006,
        "without_dispersion_ev": None if refused else less_dispersion_ev,
        "pose_spread_ev": None if refused else 0.11,
        "refusals": (refusal,) if refused else (),
        "anomalies": (),
        "legs": legs,
        "poses": poses,
        "structure": structure,
        "adsorbate_atoms": atoms,
        "closest_contact": "N16...V14",
        "closest_contact_ang": 2.2,
        "area_ang2": 67.2,
        "code_version": "0.1.0",
        "parameters": {"search_poses": 8, "search_seed": 0},
    }
    return AdsorptionEnergy(**(fields | changes))


def relaxation(label: str = "slab nvopf (001), chgnet+d3", job: str = "job-1") -> Calculation:
    steps = np.arange(38)
    energies = -550.39 + 1.2 * np.exp(-steps / 7)
    forces = 2.0 * np.exp(-steps / 10) + 0.01
    return Calculation(
        task="relax",
        label=label,
        level=level(),
        structure=adslab()[0],
        energy_ev=float(energies[-1]),
        max_force_ev_per_ang=float(forces[-1]),
        force_target_ev_per_ang=0.05,
        ionic_converged=True,
        energies_ev=tuple(float(e) for e in energies),
        max_forces_ev_per_ang=tuple(float(f) for f in forces),
        wall_time_s=12.0,
        provenance=Provenance(job=job, run_directory="runs/ab/cd"),
    )


def paper() -> Reference:
    return Reference(
        name="a-paper",
        title="A paper",
        citation='A. Author, "A paper", Journal (2025)',
        doi="10.1000/xyz123",
        source="printed in it",
        method=("PBE", "500 eV"),
        level="paper",
        values=(
            PublishedValue(id="S2", cathode="nvopf", facet="001", ligand="triazole", value_ev=-0.51),
            PublishedValue(id="S2", cathode="nvopf", facet="100", ligand="triazole", value_ev=-0.58),
        ),
        growth=(
            PublishedGrowth(
                id="S4",
                cathode="nvopf",
                ligand="triazole",
                mof="MET-6",
                mode=GrowthMode.ISOTROPIC,
                facets=("001", "100"),
            ),
        ),
        silent=(SilentChoice(topic="termination", paper="Not stated.", choice="By rule."),),
    )


def judged(value_ev: float = -0.39, **changes: Any) -> AdsorptionEnergy:  # noqa: ANN401
    """Return a record with its four parts."""
    parts = Uncertainty(
        numerical_ev=0.006,
        search_ev=0.1,
        reference_ev=None,
        model_ev=0.3,
        low_ev=value_ev - 0.32,
        high_ev=value_ev + 0.3,
    )
    point = Refusal(
        code=RefusalCode.SEARCH_OPEN,
        subject="search",
        what="search open, 50% missed",
        remedy="search on (--set thorough=true)",
    )
    changes = {"status": Status.PROVISIONAL, "uncertainty": parts, "open_points": (point,)} | changes
    return adsorption(value_ev, **changes)


def study() -> list[AdsorptionEnergy]:
    """Two facets, two levels; the second level is refused on (100)."""
    other = level("sevennet-0+d3")
    return [
        adsorption(-0.39),
        adsorption(-0.45, facet="100", less_dispersion_ev=-0.25),
        adsorption(-0.68, at=other, less_dispersion_ev=-0.27),
        adsorption(None, facet="100", at=other),
    ]


@pytest.fixture
def make() -> Any:  # noqa: ANN401
    """Return the factories above, for tests of one room of which each needs a few."""

    class Make:
        adslab = staticmethod(adslab)
        level = staticmethod(level)
        adsorption = staticmethod(adsorption)
        judged = staticmethod(judged)
        relaxation = staticmethod(relaxation)
        paper = staticmethod(paper)
        study = staticmethod(study)
        growth = staticmethod(growth_verdict)

    return Make
