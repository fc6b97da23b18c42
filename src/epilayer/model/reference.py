"""Published results to compare with: what a paper printed, kept apart from anything computed here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from epilayer.model.base import Frozen
from epilayer.model.kinds import KINDS, declared_names
from epilayer.model.level import Scalar
from epilayer.model.records import GrowthMode
from epilayer.model.units import Ev

Doi = Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")]


class PublishedValue(Frozen):
    """One printed adsorption energy.

    Attributes
    ----------
    id
        The quantity's identifier in the study, such as ``S2``.
    """

    id: str
    quantity: Literal["adsorption energy"] = "adsorption energy"
    cathode: str
    facet: str
    ligand: str
    value_ev: Ev
    note: str = ""


class PublishedGrowth(Frozen):
    """How a paper says that a MOF grows on the facets of a cathode.

    Attributes
    ----------
    mof
        The framework; ``ligand`` is its linker, through which the mode was explained.
    facets
        Facets it is said to cover.
    """

    id: str
    cathode: str
    ligand: str
    mof: str
    mode: GrowthMode
    facets: tuple[str, ...]
    note: str = ""


class PublishedTransport(Frozen):
    """What a paper says about ions in the pores of a MOF, in its own words: it prints no interval.

    Attributes
    ----------
    mof
        The framework.
    column
        The column of transport records that it is compared with.
    said
        The paper's words or number.
    """

    id: str
    mof: str
    column: str
    said: str


class Shown(Frozen):
    """Which records of this study are compared with a quantity of a paper.

    Attributes
    ----------
    kind
        A kind of record.
    where
        Columns of the kind and the value that each must have.
    view
        What is said of each record, where it is not what the kind answers first (``protocol``, ``cell``,
        ``hydrogen``, ``built``).
    """

    kind: str
    where: dict[str, Scalar] = Field(default_factory=dict)
    view: str = ""

    @model_validator(mode="after")
    def _is_declared(self) -> Self:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of record is called {self.kind!r} ({', '.join(KINDS)})")
        unknown = sorted(set(self.where) - declared_names(self.kind))
        if unknown:
            raise ValueError(f"records of kind {self.kind} have no column {unknown[0]!r}")
        return self


class PublishedQuantity(Frozen):
    """One row of what a paper computed or claims.

    Attributes
    ----------
    printed
        What the paper says, in its numbers.
    differs
        Why a value computed here may differ from it.
    command
        What computes it here.
    shows
        The records that answer it.
    """

    id: str
    system: str
    quantity: str
    printed: str
    differs: str
    command: str
    shows: tuple[Shown, ...] = ()


class SilentChoice(Frozen):
    """Something that a paper does not state, so that a reader who repeats it has to choose.

    Attributes
    ----------
    topic
        One of the topics about which a report can also say what was executed.
    paper
        What the paper says, or that it says nothing.
    choice
        What is done here instead, and why.
    """

    topic: Literal[
        "termination", "thickness", "sodium ordering", "dispersion", "dipole", "hubbard u", "other"
    ]
    paper: str
    choice: str


class Reference(Frozen):
    """A publication and the numbers printed in it.

    Attributes
    ----------
    method
        The paper's method as single facts, in its own terms.
    level
        The level of theory that repeats it; a deviation is printed between equal methods alone.
    values, growth, transport
        Every number, growth mode and statement on ions that a result is compared with.
    silent
        Choices that the paper leaves open.
    quantities
        Everything it computed or claims, one row each.
    """

    name: str
    title: str
    citation: str
    doi: Doi
    source: str
    method: tuple[str, ...] = ()
    level: str = ""
    values: tuple[PublishedValue, ...] = ()
    growth: tuple[PublishedGrowth, ...] = ()
    transport: tuple[PublishedTransport, ...] = ()
    silent: tuple[SilentChoice, ...] = ()
    quantities: tuple[PublishedQuantity, ...] = ()

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        named: dict[str, list[tuple[str, ...]]] = {
            "value": [(v.cathode, v.facet, v.ligand) for v in self.values],
            "growth mode": [(g.cathode, g.ligand) for g in self.growth],
        }
        for kind, keys in named.items():
            repeated = next((k for k in keys if keys.count(k) > 1), None)
            if repeated is not None:
                raise ValueError(f"the {kind} of {' / '.join(repeated)} stands twice")
        return self

    def value(self, cathode: str, facet: str, ligand: str) -> PublishedValue | None:
        """Return the printed adsorption energy of a ligand on a facet, if there is one."""
        wanted = (cathode, facet, ligand)
        return next((v for v in self.values if (v.cathode, v.facet, v.ligand) == wanted), None)

    def growth_of(self, cathode: str, ligand: str) -> PublishedGrowth | None:
        """Return the printed growth mode of a ligand's MOF on a cathode, if there is one."""
        return next((g for g in self.growth if (g.cathode, g.ligand) == (cathode, ligand)), None)

    def transport_of(self, mof: str, column: str) -> PublishedTransport | None:
        """Return what the paper says about ions in a MOF, if it does."""
        return next((t for t in self.transport if (t.mof, t.column) == (mof, column)), None)
