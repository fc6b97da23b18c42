"""Adsorption of triazole and 2-methylimidazole on NVOPF (001) and (100), and the growth modes that follow.

The paper's systems S2, S3 and S4 (Nature Energy 2025, doi 10.1038/s41560-025-01857-y).
"""

from __future__ import annotations

from functools import partial

from epilayer.flows.studies import adsorption_study

build = partial(
    adsorption_study,
    cathode="nvopf",
    facets=("001", "100"),
    ligands=("triazole", "2-methylimidazole"),
)
