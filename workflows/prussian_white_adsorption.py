"""Adsorption of triazole, the ligand of MET-6, on Prussian white Na2Mn[Fe(CN)6], and its growth mode.

The paper coats this cathode too, by experiment only (S11; Nature Energy 2025, doi
10.1038/s41560-025-01857-y). In the hexagonal cell (012) is the pseudo-cubic (001), (104) its (110).
"""

from __future__ import annotations

from functools import partial

from epilayer.flows.studies import adsorption_study

build = partial(adsorption_study, cathode="prussian-white", facets=("012", "104"), ligands=("triazole",))
