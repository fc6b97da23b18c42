"""Levels of theory: what a user asks for (:class:`Level`) and what was executed (:class:`LevelOfTheory`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from epilayer.model.base import Frozen, fingerprint
from epilayer.model.gpaw import GpawSettings
from epilayer.model.units import PositiveAng, PositiveEvPerAng
from epilayer.model.vasp import VaspSettings

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Scalar = str | int | float | bool | None


class EngineKind(StrEnum):
    """What kind of theory an engine computes with; a report never mixes them silently."""

    DFT = "dft"
    MLIP = "mlip"
    TOY = "toy"


class Weights(Frozen):
    """Where the parameters of a machine-learned potential are, and which ones they are.

    Attributes
    ----------
    package
        The installed package that ships them; ``path`` is then relative to it.
    path
        The file of weights.
    sha256
        Checksum that the file must have; required for packaged weights so that an upgrade of the
        package can never change a level of theory unnoticed.
    """

    package: str | None = None
    path: Path
    sha256: Sha256 | None = None


class EngineSpec(Frozen):
    """One engine, as ``configs/engines/NAME.yaml`` describes it.

    Attributes
    ----------
    force_field
        Name of the atomate2 force field (``CHGNet``, ``SevenNet``, ``MACE`` ...); ``mlip`` only.
    method
        The method in the field's words, printed next to every number.
    calculator_kwargs
        Passed to the calculator as they are.
    """

    name: str
    title: str
    kind: EngineKind
    method: str
    source: str
    licence: str = "not stated"
    force_field: str | None = None
    weights: Weights | None = None
    weights_argument: str = "model"
    package: str | None = None
    calculator_kwargs: dict[str, Scalar] = Field(default_factory=dict)
    cite: tuple[str, ...] = ()


class Dispersion(Frozen):
    """A dispersion correction added to an engine's energy and forces.

    Attributes
    ----------
    method
        D3 with rational (Becke-Johnson) damping, doi 10.1002/jcc.21759, or with zero damping,
        doi 10.1063/1.3382344.
    """

    method: Literal["d3bj", "d3zero"] = "d3bj"
    functional: str = "pbe"

    @property
    def label(self) -> str:
        """The correction in the field's notation."""
        return f"{self.damping}, {self.functional.upper()} parameters"

    @property
    def damping(self) -> str:
        """The correction without its parameters."""
        return {"d3bj": "D3(BJ)", "d3zero": "D3(0)"}[self.method]


class Convergence(Frozen):
    """When a relaxation counts as converged, and how it is driven there."""

    max_force_ev_per_ang: PositiveEvPerAng
    max_steps: Annotated[int, Field(gt=0)] = 300
    optimizer: Literal["LBFGS", "FIRE", "BFGS"] = "LBFGS"


class Level(Frozen):
    """A level of theory as a user names it: ``configs/levels/NAME.yaml``.

    Attributes
    ----------
    parent
        The level that this one inherits from; it states only what differs.
    choices
        What the source of the method leaves open and how it was chosen here, by topic.
    variations
        By axis (U, D3, dipole, spin order, engine), the level that differs from this one in that choice
        alone; a child does not inherit them.
    dispersion
        A correction added by this package; VASP's own is a tag of ``vasp.incar``.
    vasp, gpaw
        Settings of a VASP or a GPAW level; unset for the embedded engines.
    """

    name: str
    title: str
    engine: str
    source: str
    parent: str | None = None
    choices: dict[str, str] = Field(default_factory=dict)
    variations: dict[str, str] = Field(default_factory=dict)
    dispersion: Dispersion | None = None
    convergence: Convergence
    molecule_vacuum_ang: PositiveAng = 15.0
    vasp: VaspSettings | None = None
    gpaw: GpawSettings | None = None

    @model_serializer(mode="wrap")
    def _as_before_gpaw(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave an unset ``gpaw`` out: jobs of other engines keep the identity that they had without it."""
        data: dict[str, Any] = handler(self)
        return data if self.gpaw is not None else {k: v for k, v in data.items() if k != "gpaw"}


class LevelOfTheory(Frozen):
    """What a calculation was really executed with.

    Two energies may be subtracted only if their :attr:`fingerprint` is the same, what they say of the
    elements that they share is the same, and each system was computed as its level declares.

    Attributes
    ----------
    numerics
        Settings that all legs of an energy difference share.
    elements
        Per element, what was computed with (pseudopotential, U); legs hold different elements.
    system
        Settings that differ by design between a slab and a molecule (k-mesh, dipole, charge).
    declared
        The values of ``system`` that the level asks of this kind of system.
    """

    name: str
    kind: EngineKind
    method: str
    dispersion: str | None = None
    weights_sha256: Sha256 | None = None
    numerics: dict[str, Scalar] = Field(default_factory=dict)
    elements: dict[str, str] = Field(default_factory=dict)
    system: dict[str, Scalar] = Field(default_factory=dict)
    declared: dict[str, Scalar] = Field(default_factory=dict)
    stand_in: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what all legs of an energy difference share (not the name that somebody gave it)."""
        own = {"name", "elements", "system", "declared"}
        return fingerprint(self.model_dump(mode="json", exclude=own))

    @property
    def label(self) -> str:
        """One line for a table or a caption."""
        tail = f" + {self.dispersion}" if self.dispersion else ""
        return f"{self.method}{tail}"
