"""Adsorption energy of a molecule at geometries from files, by single points: nothing is relaxed or searched.

For comparison with published energies at published geometries, and to rank poses at a better level.
"""

from __future__ import annotations

from epilayer.flows.given import given_adsorption

build = given_adsorption
