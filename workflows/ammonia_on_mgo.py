"""Ammonia on MgO (001): a potential finds the pose, density-functional theory relaxes it.

Small, with a known answer. Published for four layers at a fixed geometry (interaction energies): -0.764 eV
with PBE and D3 of zero damping, -0.657 eV with autoSKZCAM at the level of coupled clusters
(github benshi97/Data_autoSKZCAM).
"""

from __future__ import annotations

from functools import partial

from epilayer.flows.studies import adsorption_study

build = partial(
    adsorption_study,
    check_levels=("pbe-400+d3",),
    cathode="mgo",
    facets=("001",),
    ligands=("ammonia",),
    poses=3,
    keep=1,
)
