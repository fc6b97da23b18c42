"""Typed results of ion transport: a number with its interval, a bound, or a refusal with its reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from epilayer.model.base import Frozen
from epilayer.model.units import Ang, Dimensionless, Fraction, Kelvin, Ps, Unit

Cm2PerS = Annotated[float, Unit("cm^2/s")]
MsPerCm = Annotated[float, Unit("mS/cm")]
Frame = Literal["as simulated", "framework at rest", "centre of mass at rest"]


class Verdict(StrEnum):
    """What a trajectory can carry."""

    RESOLVED = "resolved"
    BOUND = "bound"
    REFUSED = "refused"


class DiffusionEstimate(Frozen):
    """The self-diffusion coefficient of one kind of carrier.

    Attributes
    ----------
    n_carriers
        Ions or molecules averaged over.
    n_independent
        How many of them move independently of one another.
    verdict, reason
        What may be said, and why not more.
    diffusion_cm2_per_s
        The median of the posterior; only where the verdict is ``resolved``.
    lower_cm2_per_s, upper_cm2_per_s
        Ends of the 95 % interval; a bound has the end that the data carry.
    window_ps
        Lag times over which the motion was found diffusive.
    slope_cm2_per_s
        Slope / 6 of a plain straight line through the MSD over the window, for comparison with other
        programs; it carries no interval.
    n_hops
        Expected number of independent displacements by one hop length, ``6 D t n / a^2``.
    n_eff
        Effective events of He et al., largest total MSD / a^2 (doi 10.1038/s41524-018-0074-y).
    relative_error_he2018
        Their ``3.43 / sqrt(n_eff) + 0.04``.
    ion_ps, ion_ps_needed
        Carriers x time simulated, and estimated to be needed for ``resolved``.
    """

    species: str
    n_carriers: int
    n_independent: Dimensionless
    verdict: Verdict
    reason: str
    diffusion_cm2_per_s: Cm2PerS | None
    lower_cm2_per_s: Cm2PerS | None
    upper_cm2_per_s: Cm2PerS | None
    confidence: Fraction = 0.95
    window_ps: tuple[Ps, Ps] | None
    slope_cm2_per_s: Cm2PerS | None
    degrees_of_freedom: Dimensionless
    hop_length_ang: Ang
    n_hops: Dimensionless
    n_eff: Dimensionless
    relative_error_he2018: Dimensionless | None
    duration_ps: Ps
    ion_ps: Ps
    ion_ps_needed: Ps | None


class Comparison(Frozen):
    """Whether one species is faster than another, and how sure that is.

    Attributes
    ----------
    probability
        That ``first`` diffuses faster than ``second``; ``None`` where the data carry no ranking.
    said
        The sentence that may be printed.
    """

    first: str
    second: str
    verdict: Verdict
    probability: Fraction | None
    said: str


class RatioEstimate(Frozen):
    """A dimensionless transport number with its 95 % interval, or a refusal."""

    name: str
    definition: str
    frame: Frame
    verdict: Verdict
    reason: str
    value: Dimensionless | None
    lower: Dimensionless | None
    upper: Dimensionless | None


class ConductivityEstimate(Frozen):
    """Ionic conductivity, with or without the correlations between ions."""

    kind: Literal["Nernst-Einstein", "collective"]
    frame: Frame
    verdict: Verdict
    reason: str
    conductivity_ms_per_cm: MsPerCm | None
    lower_ms_per_cm: MsPerCm | None
    upper_ms_per_cm: MsPerCm | None
    temperature_k: Kelvin


class TransportReport(Frozen):
    """Everything a trajectory says about ion transport.

    Attributes
    ----------
    frame
        The frame of reference all displacements are taken in.
    faster
        One comparison for every pair of species.
    """

    frame: Frame
    time_step_ps: Annotated[float, Field(gt=0), Unit("ps")]
    n_frames: int
    diffusion: tuple[DiffusionEstimate, ...]
    faster: tuple[Comparison, ...] = ()
    transference: tuple[RatioEstimate, ...] = ()
    haven: RatioEstimate | None = None
    conductivity: tuple[ConductivityEstimate, ...] = ()

    def of(self, species: str) -> DiffusionEstimate:
        """Return the estimate of one species."""
        return next(item for item in self.diffusion if item.species == species)
