"""Published interaction energies, and how far a level of theory is from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from epilayer.model.base import Frozen
from epilayer.model.units import Ev

if TYPE_CHECKING:
    from epilayer.model.level import LevelOfTheory


class BenchmarkCase(Frozen):
    """A molecule on a surface at fixed geometries.

    Attributes
    ----------
    contact
        The two elements that touch, the molecule's first, such as ``N-Mg``.
    geometry
        Name of its three structure files, without ``_Molecule-Surface.extxyz``, ``_Surface.extxyz`` and
        ``_Molecule.extxyz``.
    values_ev
        Published interaction energy, by method.
    """

    contact: str = Field(pattern=r"^[A-Z][a-z]?-[A-Z][a-z]?$")
    geometry: str
    values_ev: dict[str, Ev]


class Benchmark(Frozen):
    """A published set of interaction energies: ``configs/benchmarks/NAME.yaml``.

    Attributes
    ----------
    reference
        The method, among ``values_ev``, that the others are judged against.
    get
        The command that fetches the geometries.
    """

    name: str
    title: str
    source: str
    licence: str
    reference: str
    get: str
    cases: dict[str, BenchmarkCase]


class CaseError(Frozen):
    """The error of a level in one case: computed minus reference."""

    contact: str = Field(pattern=r"^[A-Z][a-z]?-[A-Z][a-z]?$")
    error_ev: Ev


class ModelError(Frozen):
    """The errors of a level of theory in a benchmark: ``configs/model_errors/LEVEL.yaml``.

    Attributes
    ----------
    name
        Of the level.
    fingerprint
        Of the level as executed; the errors hold for no other. Unset where the values are published ones
        of a density functional, which hold for every level of its name.
    benchmark, reference
        The set, and the method that the errors are against.
    source
        Who computed them, with which programs.
    """

    name: str
    fingerprint: str | None = None
    benchmark: str
    reference: str
    source: str
    cases: dict[str, CaseError]

    def holds_for(self, level: LevelOfTheory) -> bool:
        """Whether the errors are those of a level as it was executed."""
        return self.name == level.name and self.fingerprint in (None, level.fingerprint)


class Standard(Frozen):
    """What an adsorption energy is held to before it is certified.

    Attributes
    ----------
    model_error
        The errors of its level; ``None`` where the level was never benchmarked.
    needed_ev
        Half-width of the interval that the question needs.
    """

    model_error: ModelError | None = None
    needed_ev: Ev
