"""Ions in the pores of MET-6 with NaFSI and polymer: dynamics, diffusion, transference, solvation.

The paper's systems S5, S6 and S7 (Nature Energy 2025, doi 10.1038/s41560-025-01857-y): 506 atoms,
13,000 steps of 1 fs, of the framework only H moves. Its "first 3 fs" of equilibration must be 3 ps; its
HO-(CH2O)15-H is polyoxymethylene, not PEO (``--set chains=peo7:2`` for that).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.pore_study import transport_study
from epilayer.flows.transport import TransportPlan
from epilayer.model.dynamics import DynamicsSettings, Thermostat

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.study.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet+d3",
    mof: str = "met6",
    salt: str = "NaFSI:2",
    chains: tuple[str, ...] = ("pom15:2",),
    temperatures_k: tuple[float, ...] = (353.15,),
    seeds: tuple[int, ...] = (0,),
    equilibration_steps: int = 3000,
    production_steps: int = 10000,
    time_step_fs: float = 1.0,
    thermostat: Thermostat = Thermostat.NOSE_HOOVER,
    free_framework: bool = False,
    segment_steps: int | None = None,
    segment_wall_time_s: float | None = None,
    checkpoint_every: int = 50,
    minimise_steps: int = 200,
    nve_check_steps: int = 0,
    primitive: bool = False,
    pore_seed: int = 0,
    quick: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    salt, chains
        What goes into the pores: ``NaFSI:2`` and ``pom15:2``, ``peo7:2`` ...
    temperatures_k
        From three on, an activation energy is fitted, or refused.
    seeds
        Replicas: each a trajectory of its own, analysed together.
    free_framework
        All of the framework moves; the paper holds Zn, C and N.
    segment_steps, segment_wall_time_s
        When a segment of the dynamics ends and its successor is queued.
    nve_check_steps
        Steps without thermostat at the end, whose energy drift is reported.
    primitive
        Load the primitive cell of the framework instead of the conventional one.
    quick
        The primitive cell (90 atoms) with one NaFSI and one short chain, 119 atoms, and 200 steps: shows
        the way. Too short for any diffusion coefficient, and the verdict says so.
    """
    plan = TransportPlan(
        dynamics=DynamicsSettings(
            time_step_fs=time_step_fs, thermostat=thermostat, checkpoint_every=checkpoint_every
        ),
        equilibration_steps=50 if quick else equilibration_steps,
        production_steps=150 if quick else production_steps,
        temperatures_k=temperatures_k,
        seeds=seeds,
        free_framework=free_framework,
        segment_steps=100 if quick else segment_steps,
        segment_wall_time_s=segment_wall_time_s,
        minimise_steps=30 if quick else minimise_steps,
        nve_check_steps=nve_check_steps,
    )
    return transport_study(
        catalogue,
        mof=mof,
        salt="NaFSI:1" if quick else salt,
        chains=("pom4:1",) if quick else chains,
        level=level,
        plan=plan,
        primitive=primitive or quick,
        pore_seed=pore_seed,
    )
