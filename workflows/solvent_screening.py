"""Competing adsorption on NVOPF: solvents and the anion of the MOF synthesis beside its ligands.

The paper's S12 (Nature Energy 2025, doi 10.1038/s41560-025-01857-y) says that these "should also be
considered". Acetate enters as the neutral sodium acetate: an anion has no adsorption energy in a
potential that ignores charge.
"""

from __future__ import annotations

from functools import partial

from epilayer.flows.studies import adsorption_study

build = partial(
    adsorption_study,
    cathode="nvopf",
    facets=("001", "100"),
    ligands=("triazole", "2-methylimidazole"),
    competitors=("dmf", "ethanol", "water", "methanol", "ammonia", "sodium-acetate"),
)
