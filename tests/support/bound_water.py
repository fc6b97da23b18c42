"""One certified record, for tests of what happens to records."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import AdsorptionEnergy, Leg, Provenance, Status

STRUCTURE = Structure(Lattice.cubic(9.0), ["O", "H"], [[0, 0, 0], [0, 0, 0.1]])


def bound_water(origin: Provenance) -> AdsorptionEnergy:
    """Return a certified adsorption energy of -0.39 eV whose legs all come from one run."""
    level = LevelOfTheory(
        name="chgnet+d3", kind=EngineKind.MLIP, method="CHGNet", dispersion="D3(BJ)", weights_sha256="ab" * 32
    )
    legs = tuple(
        Leg(
            role=role, energy_ev=energy_ev, dispersion_energy_ev=None, max_force_ev_per_ang=0.01, steps=9,
            residual_ev=0.001, formula="O H", level_fingerprint=level.fingerprint, provenance=origin,
        )
        for role, energy_ev in (("adslab", -3.39), ("slab", -2.0), ("molecule", -1.0))
    )  # fmt: skip
    return AdsorptionEnergy(
        cathode="nvopf", facet="100", termination="t0", ligand="water", level=level, status=Status.CERTIFIED,
        adsorption_energy_ev=-0.39, uncertainty_ev=0.01, without_dispersion_ev=None, pose_spread_ev=None,
        refusals=(), anomalies=(), legs=legs, poses=(), structure=STRUCTURE, adsorbate_atoms=(0, 1),
        closest_contact="O0...H1", closest_contact_ang=0.97, area_ang2=81.0, code_version="1", parameters={},
    )  # fmt: skip
