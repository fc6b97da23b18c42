"""Molecular dynamics with VASP: its INCAR tags.

Thermostats, and what VASP makes of what was asked:

- Nose-Hoover (``MDALGO = 2, SMASS = 0``): one thermostat whose mass VASP sets to a period of about 40 steps,
  the scale of bond vibrations. VASP writes its state behind the velocities in CONTCAR, so that it goes
  on over a restart. ``thermostat_period_fs`` and ``chain_length`` cannot be given to it.
- Langevin (``MDALGO = 3``): friction per element (``LANGEVIN_GAMMA``, 1/ps). VASP does not write the state of
  its random numbers: every segment draws from a seed of its own.
- NVE: Andersen's thermostat that never strikes (``MDALGO = 1, ANDERSEN_PROB = 0``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.dynamics import Ensemble, Thermostat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.dynamics import DynamicsSettings

_PS_PER_FS = 1e-3


def tags(settings: DynamicsSettings, elements: Sequence[str], *, steps: int, seed: int) -> dict[str, Any]:
    """Return the INCAR tags of a run.

    Parameters
    ----------
    elements
        In the order of the POSCAR, one entry a block.
    steps
        Configurations to compute, the first included.
    seed
        Of the velocities and of the thermostat's noise.
    """
    found = {
        "NSW": steps,
        "IBRION": 0,
        "ISIF": 2,
        "POTIM": settings.time_step_fs,
        "TEBEG": settings.temperature_k,
        "TEEND": settings.temperature_k,
        "RANDOM_SEED": [seed, 0, 0],
        "NBLOCK": settings.frame_every,
    }
    if settings.ensemble is Ensemble.NVE:
        return {**found, "MDALGO": 1, "ANDERSEN_PROB": 0.0}
    if settings.thermostat is Thermostat.LANGEVIN:
        gamma_per_ps = settings.friction_per_fs / _PS_PER_FS
        return {**found, "MDALGO": 3, "LANGEVIN_GAMMA": [gamma_per_ps] * len(elements)}
    return {**found, "MDALGO": 2, "SMASS": 0.0}
