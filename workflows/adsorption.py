"""Adsorption of ligands on facets of a cathode of your own: a CIF or POSCAR, or one of the catalogue."""

from __future__ import annotations

from epilayer.flows.studies import adsorption_study

build = adsorption_study
