"""Adsorption of triazole and 2-methylimidazole on olivine NaFePO4 (010) and (100), and the growth modes.

Not in the paper: the next cathode. ``--set cathode=lifepo4`` studies LiFePO4 in the same setting.
"""

from __future__ import annotations

from functools import partial

from epilayer.flows.studies import adsorption_study

build = partial(
    adsorption_study,
    cathode="nafepo4",
    facets=("010", "100"),
    ligands=("triazole", "2-methylimidazole"),
)
