"""Ion transport from tracks: diffusion, transference, conductivity, each resolved, bounded or refused.

A number is given where its 95 % interval spans less than a factor of four *and* the ions have made at
least ten independent hops: a perfectly diffusive-looking rattle inside one pore says nothing about
leaving it (He et al., doi 10.1038/s41524-018-0074-y). Otherwise a bound, or a refusal, with the
ion-picoseconds that would resolve it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from epilayer.analysis.displacements import centres, remove_drift, unwrap
from epilayer.analysis.msd import mean_squared_displacement, slope_over_window
from epilayer.analysis.statistics import Posterior, diffusion_posterior, probability_faster, sine_projections
from epilayer.model.errors import InputError
from epilayer.model.transport import (
    Comparison,
    ConductivityEstimate,
    DiffusionEstimate,
    Frame,
    RatioEstimate,
    TransportReport,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


CM2_PER_S = 1e-4  # one Angstrom^2/ps
_TAIL = 0.025  # of the posterior beyond each end of a 95 % interval
_WIDEST_RATIO = 4.0
_WIDEST_TRANSFERENCE = 0.5
_FEWEST_HOPS = 10.0
_HOPS_FOR_A_BOUND = 1.0
_LIKELY = 0.5
_SURE = 0.985  # of a ranking: false in 3 % of equal pairs, either way round
_ELEMENTARY_CHARGE_C = 1.602176634e-19
_BOLTZMANN_J_PER_K = 1.380649e-23
_DRAWS = 4000
_ROUNDING_ANG2 = 1e-12


@dataclass(frozen=True)
class Carrier:
    """One kind of ion or molecule.

    Parameters
    ----------
    name
        For example ``Na`` or ``FSI``.
    tracks_ang
        (n_frames, n_carriers, 3) unwrapped, in the frame of reference, Angstrom.
    charge_e
        Formal charge; 0 leaves it out of transference and conductivity.
    """

    name: str
    tracks_ang: NDArray[np.float64]
    charge_e: float = 0.0

    @property
    def number(self) -> int:
        """Carriers of this kind."""
        return int(self.tracks_ang.shape[1])


@dataclass(frozen=True)
class _Known:
    """An estimate and the posterior behind it."""

    carrier: Carrier
    estimate: DiffusionEstimate
    posterior: Posterior | None


@dataclass(frozen=True)
class Frames:
    """A trajectory as arrays.

    Parameters
    ----------
    positions
        (n_frames, n_atoms, 3), wrapped or not.
    cells_ang
        (3, 3) or (n_frames, 3, 3) cell vectors as rows, Angstrom.
    symbols, masses_amu
        (n_atoms,) chemical symbols, and masses in u.
    coordinates
        What ``positions`` are.
    """

    positions: NDArray[np.float64]
    cells_ang: ArrayLike
    symbols: Sequence[str]
    masses_amu: ArrayLike
    coordinates: Literal["fractional", "cartesian"] = "fractional"


@dataclass(frozen=True)
class CarrierChoice:
    """Which atoms and molecules are carriers.

    Parameters
    ----------
    species
        Symbols whose atoms are carriers.
    molecules
        Name and atom indices of molecular carriers, followed at their centres of mass.
    charges_e
        Formal charges of the carriers by name.
    """

    species: Sequence[str] = ()
    molecules: Mapping[str, Sequence[ArrayLike]] = field(default_factory=dict)
    charges_e: Mapping[str, float] = field(default_factory=dict)


def analyse_arrays(
    frames: Frames,
    carriers: CarrierChoice,
    *,
    time_step_fs: float | None,
    framework: ArrayLike | Literal["none", "all"] = "none",
    temperature_k: float | None = None,
    hop_length_ang: float = 3.0,
) -> TransportReport:
    """Analyse transport in a trajectory given as arrays.

    Parameters
    ----------
    frames
        The trajectory.
    carriers
        Which atoms and molecules are followed.
    time_step_fs
        Time between frames, fs.
    framework
        Indices of the atoms whose centre of mass is at rest; ``"all"`` for the centre of mass of
        everything; ``"none"`` for the frame of the simulation.
    temperature_k
        For the conductivity, K.
    hop_length_ang
        Distance that counts as one hop, Angstrom: about the distance between sites.

    Raises
    ------
    InputError
        If the time step is not positive, a species is absent, or a path cannot be followed.
    """
    step_fs = positive_time_step_fs(time_step_fs)
    names, masses = np.asarray(frames.symbols), frames.masses_amu
    absent = sorted(set(carriers.species) - set(names.tolist()))
    if absent or not (carriers.species or carriers.molecules):
        what = f"{absent[0]} is not in this trajectory." if absent else "No carrier was named."
        raise InputError(what, f"Name one of: {', '.join(sorted(set(names.tolist())))}.")
    tracks = unwrap(frames.positions, frames.cells_ang, coordinates=frames.coordinates)
    frame: Frame = "as simulated"
    if isinstance(framework, str):
        if framework == "all":
            tracks, frame = remove_drift(tracks, masses), "centre of mass at rest"
    else:
        tracks, frame = remove_drift(tracks, masses, framework), "framework at rest"
    charges = carriers.charges_e
    followed = [Carrier(s, tracks[:, names == s], charges.get(s, 0.0)) for s in carriers.species]
    for name, members in carriers.molecules.items():
        followed.append(Carrier(name, centres(tracks, masses, members), charges.get(name, 0.0)))
    volume = float(np.abs(np.linalg.det(np.asarray(frames.cells_ang, np.float64))).mean())
    return analyse(
        followed,
        time_step_fs=step_fs,
        frame=frame,
        volume_ang3=volume,
        temperature_k=temperature_k,
        hop_length_ang=hop_length_ang,
    )


def analyse(
    carriers: Sequence[Carrier],
    *,
    time_step_fs: float | None,
    frame: Frame,
    volume_ang3: float | None = None,
    temperature_k: float | None = None,
    hop_length_ang: float = 3.0,
) -> TransportReport:
    """Analyse the transport of carriers.

    Parameters
    ----------
    carriers
        Kinds of ions or molecules, with their tracks.
    time_step_fs
        Time between frames, fs.
    frame
        The frame of reference of the tracks; it is repeated in the results.
    volume_ang3, temperature_k
        Mean cell volume, Angstrom^3, and temperature, K; both are needed for a conductivity.
    hop_length_ang
        Distance that counts as one hop, Angstrom.
    """
    step_ps = positive_time_step_fs(time_step_fs) * 1e-3
    known = [_estimate(c, step_ps, hop_length_ang) for c in carriers]
    charged = [k for k in known if k.carrier.charge_e]
    collective = _collective(charged, step_ps) if charged else None
    conductivity: tuple[ConductivityEstimate, ...] = ()
    if charged and volume_ang3 is not None and temperature_k is not None:
        conductivity = _conductivities(charged, collective, frame, volume_ang3, temperature_k)
    return TransportReport(
        frame=frame,
        time_step_ps=step_ps,
        n_frames=len(carriers[0].tracks_ang) if carriers else 0,
        diffusion=tuple(k.estimate for k in known),
        faster=tuple(_compare(a, b) for a, b in combinations(known, 2)),
        transference=_transference(charged, step_ps, frame),
        haven=_haven(charged, collective, frame) if charged else None,
        conductivity=conductivity,
    )


def positive_time_step_fs(time_step_fs: float | None) -> float:
    """Return the time step, or refuse one that is not known or not positive."""
    if time_step_fs is None or not np.isfinite(time_step_fs) or time_step_fs <= 0:
        raise InputError(
            f"The time between frames is {time_step_fs if time_step_fs is not None else 'not known'}.",
            "State it: time step of the simulation times the steps between stored frames, in fs.",
        )
    return float(time_step_fs)


def estimate_diffusion(
    tracks_ang: NDArray[np.float64],
    time_step_fs: float | None,
    *,
    name: str = "ion",
    hop_length_ang: float = 3.0,
) -> DiffusionEstimate:
    """Estimate the self-diffusion coefficient of equal carriers; see :func:`analyse`."""
    return _estimate(
        Carrier(name, tracks_ang), positive_time_step_fs(time_step_fs) * 1e-3, hop_length_ang
    ).estimate


def _estimate(carrier: Carrier, step_ps: float, hop_ang: float) -> _Known:
    tracks = carrier.tracks_ang
    duration_ps = (len(tracks) - 1) * step_ps
    ion_ps = duration_ps * carrier.number
    msd = mean_squared_displacement(tracks)
    n_eff = float(carrier.number * msd.max(initial=0.0) / hop_ang**2)
    posterior = diffusion_posterior(tracks, step_ps)
    if posterior is None:
        still = msd.max(initial=0.0) < _ROUNDING_ANG2
        reason = "Nothing moves." if still else f"Too short: {len(tracks)} frames over {duration_ps:.3g} ps."
        checked = _Checked(Verdict.REFUSED, reason)
    else:
        checked = _check(posterior, duration_ps, ion_ps, hop_ang)
    middle = posterior.quantile(0.5) if posterior and checked.verdict is Verdict.RESOLVED else None
    window = posterior.window_ps if posterior else None
    estimate = DiffusionEstimate(
        species=carrier.name,
        n_carriers=carrier.number,
        n_independent=posterior.n_independent if posterior else 0.0,
        verdict=checked.verdict,
        reason=checked.reason,
        diffusion_cm2_per_s=_in_cm2_per_s(middle),
        lower_cm2_per_s=_in_cm2_per_s(checked.lower),
        upper_cm2_per_s=_in_cm2_per_s(checked.upper),
        window_ps=window,
        slope_cm2_per_s=_slope(msd, step_ps, window),
        degrees_of_freedom=posterior.degrees_of_freedom if posterior else 0.0,
        hop_length_ang=hop_ang,
        n_hops=checked.hops,
        n_eff=n_eff,
        relative_error_he2018=3.43 / np.sqrt(n_eff) + 0.04 if n_eff > 0 else None,
        duration_ps=duration_ps,
        ion_ps=ion_ps,
        ion_ps_needed=checked.needed_ps,
    )
    return _Known(carrier, estimate, posterior)


@dataclass(frozen=True)
class _Checked:
    """What may be said of a diffusion coefficient; its ends in A^2/ps."""

    verdict: Verdict
    reason: str
    hops: float = 0.0
    needed_ps: float | None = None
    lower: float | None = None
    upper: float | None = None


def _check(posterior: Posterior, duration_ps: float, ion_ps: float, hop_ang: float) -> _Checked:
    """Resolve, bound or refuse by the number of independent hops and the width of the interval."""
    low, middle, high = (posterior.quantile(q) for q in (_TAIL, 0.5, 1.0 - _TAIL))
    hops = 6.0 * middle * duration_ps * posterior.n_independent / hop_ang**2
    ratio = high / low
    needed_ps = ion_ps * max(1.0, _FEWEST_HOPS / hops, (np.log(ratio) / np.log(_WIDEST_RATIO)) ** 2)
    if ratio <= _WIDEST_RATIO and hops >= _FEWEST_HOPS:
        return _Checked(Verdict.RESOLVED, f"{hops:.0f} independent hops.", hops, lower=low, upper=high)
    if hops < _HOPS_FOR_A_BOUND:
        reason = f"Too short: {hops:.2g} independent hops of {hop_ang:g} A in all."
        return _Checked(Verdict.REFUSED, reason, hops, needed_ps)
    if hops < _FEWEST_HOPS:
        reason = f"Upper bound: {hops:.1f} independent hops of {hop_ang:g} A, {_FEWEST_HOPS:.0f} are needed."
        return _Checked(Verdict.BOUND, reason, hops, needed_ps, upper=_hop_limited(hops, high, middle))
    if posterior.rising > _LIKELY:
        reason = "Upper bound: the ions are still slowing down at the longest times (caged)."
        return _Checked(Verdict.BOUND, reason, hops, needed_ps, upper=high)
    reason = f"Bounds only: the interval spans a factor of {ratio:.1f}."
    return _Checked(Verdict.BOUND, reason, hops, needed_ps, lower=low, upper=high)


def _in_cm2_per_s(diffusion_ang2_per_ps: float | None) -> float | None:
    return None if diffusion_ang2_per_ps is None else diffusion_ang2_per_ps * CM2_PER_S


def _hop_limited(hops: float, high: float, middle: float) -> float:
    """Return the upper end, no lower than that of a Poisson process that showed as many hops."""
    from scipy.special import gammaincinv

    most_hops = float(gammaincinv(hops + 1.0, 1.0 - _TAIL))
    return max(high, middle * most_hops / hops)


def _slope(msd: NDArray[np.float64], step_ps: float, window: tuple[float, float] | None) -> float | None:
    if window is None:
        return None
    # Beyond half the trajectory the MSD has fewer than two independent origins.
    first = min(window[0], window[1] / 4.0)
    return slope_over_window(msd, step_ps, (first, window[1] / 2.0))[0] * CM2_PER_S


def _compare(first: _Known, second: _Known) -> Comparison:
    a, b = first.estimate, second.estimate
    names = {"first": a.species, "second": b.species}
    if first.posterior and second.posterior and Verdict.REFUSED not in {a.verdict, b.verdict}:
        probability = probability_faster(first.posterior, second.posterior)
        ahead, behind = (a, b) if probability >= _LIKELY else (b, a)
        sure = max(probability, 1.0 - probability) >= _SURE
        # A bound is compared by its bound: hops that were not seen may still be on their way.
        floor = ahead.lower_cm2_per_s
        ceiling = behind.upper_cm2_per_s
        apart = floor is not None and ceiling is not None and floor > ceiling
        if sure and (a.verdict is b.verdict is Verdict.RESOLVED or apart):
            chance = max(probability, 1.0 - probability)
            said = f"{ahead.species} is faster than {behind.species} (probability {chance:.3f})."
            return Comparison(**names, verdict=Verdict.RESOLVED, probability=probability, said=said)
        said = f"Which of {a.species} and {b.species} is faster is not resolved (P = {probability:.2f})."
        return Comparison(**names, verdict=Verdict.BOUND, probability=probability, said=said)
    refused = a.species if a.verdict is Verdict.REFUSED else b.species
    said = f"No ranking of {a.species} and {b.species}: {refused} is refused."
    return Comparison(**names, verdict=Verdict.REFUSED, probability=None, said=said)


# -- charge ---------------------------------------------------------------------------------------


def _unresolved(charged: Sequence[_Known]) -> str | None:
    """Return why conductivity and transference are refused: a self-diffusion coefficient is not resolved."""
    for item in charged:
        if item.estimate.verdict is not Verdict.RESOLVED:
            return f"D of {item.carrier.name} is not resolved. {item.estimate.reason}"
    return None


def _collective(charged: Sequence[_Known], step_ps: float) -> Posterior | None:
    """Return the posterior of the diffusion of the charge centre, sum of z_i r_i."""
    dipole = sum(k.carrier.charge_e * k.carrier.tracks_ang.sum(axis=1, keepdims=True) for k in charged)
    return diffusion_posterior(np.asarray(dipole), step_ps)


def _weighted(charged: Sequence[_Known]) -> NDArray[np.float64]:
    """Return (n_species, n_draws) draws of z^2 N D, species independent of one another."""
    rng = np.random.default_rng(20180074)
    rows = []
    for item in charged:
        if item.posterior is None:
            raise AssertionError  # _unresolved is asked first
        weight = item.carrier.charge_e**2 * item.carrier.number
        rows.append(weight * rng.permutation(item.posterior.quantiles(_DRAWS)))
    return np.array(rows)


def _transference(charged: Sequence[_Known], step_ps: float, frame: Frame) -> tuple[RatioEstimate, ...]:
    cations = [k for k in charged if k.carrier.charge_e > 0]
    if not cations or len(cations) == len(charged):
        return ()
    definition = {
        "self": "z+^2 N+ D+ / sum of z^2 N D (ions as if independent)",
        "Onsager": "(L++ + L+-) / (L++ + 2 L+- + L--), L of charge currents",
    }
    why = _unresolved(charged)
    results = []
    for kind, text in definition.items():
        draws = None
        if why is None and kind == "self":
            weighted = _weighted(charged)
            draws = weighted[[k.carrier.charge_e > 0 for k in charged]].sum(axis=0) / weighted.sum(axis=0)
        elif why is None:
            draws = _onsager_draws(charged, step_ps)
        results.append(
            _ratio(
                f"t+ ({kind})", text, frame, draws, why, lambda low, high: high - low <= _WIDEST_TRANSFERENCE
            )
        )
    return tuple(results)


def _onsager_draws(charged: Sequence[_Known], step_ps: float) -> NDArray[np.float64] | None:
    """Draw t+ from the posterior of the 2 x 2 matrix of charge currents at long times.

    The projections of the two currents on the tapers of the shortest window among the species are
    samples of a bivariate normal distribution; with Jeffreys' prior its covariance is inverse Wishart.
    """
    from scipy.stats import invwishart

    tapers = min(k.posterior.n_tapers for k in charged if k.posterior)
    currents = []
    for positive in (True, False):
        members = [k.carrier for k in charged if (k.carrier.charge_e > 0) == positive]
        track = sum(c.charge_e * c.tracks_ang.sum(axis=1, keepdims=True) for c in members)
        currents.append(sine_projections(np.asarray(track), step_ps, tapers).ravel())
    pair = np.array(currents)
    samples = pair.shape[1]
    if samples <= 3:  # noqa: PLR2004  (the inverse Wishart has no finite spread below)
        return None
    scatter = pair @ pair.T
    if np.linalg.det(scatter) <= 0:
        return None
    drawn = invwishart.rvs(samples, scatter, size=_DRAWS, random_state=np.random.default_rng(20180074))
    result: NDArray[np.float64] = (drawn[:, 0, 0] + drawn[:, 0, 1]) / drawn.sum(axis=(1, 2))
    return result


def _ratio(
    name: str,
    definition: str,
    frame: Frame,
    draws: NDArray[np.float64] | None,
    why: str | None,
    narrow: object,
) -> RatioEstimate:
    base = {"name": name, "definition": definition, "frame": frame}
    if draws is None:
        reason = why or "Too few independent windows for the correlations between ions."
        return RatioEstimate(
            **base, verdict=Verdict.REFUSED, reason=reason, value=None, lower=None, upper=None
        )
    low, middle, high = (float(q) for q in np.quantile(draws, [_TAIL, 0.5, 1.0 - _TAIL]))
    resolved = bool(narrow(low, high)) if callable(narrow) else False
    return RatioEstimate(
        **base,
        verdict=Verdict.RESOLVED if resolved else Verdict.BOUND,
        reason="" if resolved else "Bounds only: the interval is too wide for a number.",
        value=middle if resolved else None,
        lower=low,
        upper=high,
    )


def _haven(charged: Sequence[_Known], collective: Posterior | None, frame: Frame) -> RatioEstimate:
    definition = "sum of z^2 N D over the diffusion of the charge centre"
    why = _unresolved(charged)
    draws = None
    if why is None and collective is not None:
        shuffled = np.random.default_rng(4184).permutation(collective.quantiles(_DRAWS))
        draws = _weighted(charged).sum(axis=0) / shuffled
    return _ratio("Haven ratio", definition, frame, draws, why, lambda low, high: high / low <= _WIDEST_RATIO)


def conductivity_ms_per_cm(
    charge_diffusion_ang2_per_ps: float, volume_ang3: float, temperature_k: float
) -> float:
    """Return e^2 D / (V k T), mS/cm.

    Parameters
    ----------
    charge_diffusion_ang2_per_ps
        Sum of z^2 N D, or the diffusion of sum of z_i r_i, Angstrom^2/ps.
    volume_ang3
        Cell volume, Angstrom^3.
    temperature_k
        Temperature, K.
    """
    si = _ELEMENTARY_CHARGE_C**2 * charge_diffusion_ang2_per_ps * 1e-8
    return 10.0 * si / (volume_ang3 * 1e-30 * _BOLTZMANN_J_PER_K * temperature_k)


def _conductivities(
    charged: Sequence[_Known],
    collective: Posterior | None,
    frame: Frame,
    volume_ang3: float,
    temperature_k: float,
) -> tuple[ConductivityEstimate, ...]:
    per_unit = conductivity_ms_per_cm(1.0, volume_ang3, temperature_k)
    why = _unresolved(charged)
    results = []
    for kind in ("Nernst-Einstein", "collective"):
        draws: NDArray[np.float64] | None = None
        if why is None and kind == "Nernst-Einstein":
            draws = _weighted(charged).sum(axis=0)
        elif why is None and collective is not None:
            draws = collective.quantiles(_DRAWS)
        low = middle = high = None
        verdict, reason = Verdict.REFUSED, why or "Too few frames."
        if draws is not None:
            low, middle, high = (float(q) * per_unit for q in np.quantile(draws, [_TAIL, 0.5, 1.0 - _TAIL]))
            resolved = high / low <= _WIDEST_RATIO
            verdict = Verdict.RESOLVED if resolved else Verdict.BOUND
            reason = "" if resolved else f"Bounds only: the interval spans a factor of {high / low:.1f}."
            middle = middle if resolved else None
        results.append(
            ConductivityEstimate(
                kind=kind,
                frame=frame,
                verdict=verdict,
                reason=reason,
                conductivity_ms_per_cm=middle,
                lower_ms_per_cm=low,
                upper_ms_per_cm=high,
                temperature_k=temperature_k,
            )
        )
    return tuple(results)
