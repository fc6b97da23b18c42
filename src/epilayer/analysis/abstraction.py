"""Hydrogen abstraction: transfers of a hydrogen along a trajectory, and the barrier on their path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from epilayer.analysis.anomalies import TRANSFERRED_SCALE
from epilayer.analysis.shapes import FORMED_SCALE
from epilayer.model.bonding import BarrierMethod
from epilayer.model.errors import InputError
from epilayer.model.path import FEWEST_IMAGES, ReactionPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from pymatgen.core import Structure

    from epilayer.model.records import Calculation

#: A force that is computed again may differ by so much from what ended a relaxation.
_FORCE_SLACK: Final = 1.05
#: Energies of one structure, computed twice, agree within this; flat stretches are no minima of their own.
_SAME_ENERGY_EV: Final = 0.01
#: What atoms that are free may gain in an image of a scan, which is relaxed anew: soft modes of a slab.
#: More is another state.
_RELAXED_ANEW_EV: Final = 0.05


@dataclass(frozen=True)
class Transfer:
    """A hydrogen that went from one atom to another.

    Parameters
    ----------
    donor, hydrogen, acceptor
        Indices of atoms.
    frame
        The first one in which the hydrogen belongs to the acceptor.
    time_fs
        Of that frame, from the first one; ``None`` where no time between frames is known.
    frames_held
        For how many frames it stayed there before it went on, or the trajectory ended.
    """

    donor: int
    hydrogen: int
    acceptor: int
    frame: int
    time_fs: float | None
    frames_held: int


def hydrogen_transfers(
    symbols: Sequence[str],
    fractional: NDArray[np.float64],
    cells_ang: ArrayLike,
    *,
    frame_time_fs: float | None = None,
    hold_frames: int = 3,
) -> tuple[Transfer, ...]:
    """Find every transfer of a hydrogen along a trajectory, in order of time.

    A hydrogen belongs to a new atom once it is nearer to it than to the old one (in units of the sums of
    covalent radii), within 1.25 of that sum, and its old bond is longer than 1.15 of its own: the rule by
    which relaxations are checked. It must hold for ``hold_frames`` frames, so that a hydrogen that swings
    between two atoms is not counted at every swing.

    Parameters
    ----------
    fractional
        Shape (frames, atoms, 3), wrapped or not.
    cells_ang
        (3, 3) or (frames, 3, 3), rows are cell vectors, Angstrom. Distances are to the nearest image
        along the cell vectors, exact below half the smallest width.
    frame_time_fs
        Time between frames.
    hold_frames
        Frames in a row for which the new partner must be kept.

    Raises
    ------
    InputError
        If shapes do not fit, coordinates are not finite, or ``hold_frames`` is below 1.
    """
    positions = np.asarray(fractional, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(symbols), 3):  # noqa: PLR2004
        raise InputError(
            f"Positions have the shape {positions.shape} for {len(symbols)} atoms.",
            "Give an array (frames, atoms, 3) and one symbol per atom.",
        )
    if not np.isfinite(positions).all():
        raise InputError("Some coordinates are not finite.", "Cut the trajectory before they occur.")
    if hold_frames < 1:
        raise InputError(f"A partner held for {hold_frames} frames is none.", "Ask for at least 1 frame.")
    heavy = np.array([i for i, s in enumerate(symbols) if s != "H"], dtype=int)
    hydrogens = [i for i, s in enumerate(symbols) if s == "H"]
    if not len(heavy) or not hydrogens or not len(positions):
        return ()
    cells = np.broadcast_to(np.asarray(cells_ang, np.float64), (len(positions), 3, 3))
    reach_ang = np.array([covalent_radii[1] + covalent_radii[atomic_numbers[symbols[i]]] for i in heavy])
    found = []
    for h in hydrogens:
        apart = positions[:, heavy] - positions[:, h, None]
        apart -= np.round(apart)
        ratios = np.linalg.norm(np.einsum("fai,fij->faj", apart, cells), axis=2) / reach_ang
        found += _of_one(h, heavy, ratios, frame_time_fs, hold_frames)
    return tuple(sorted(found, key=lambda t: (t.frame, t.hydrogen)))


def _of_one(
    hydrogen: int,
    heavy: NDArray[np.int_],
    ratios: NDArray[np.float64],
    frame_time_fs: float | None,
    hold_frames: int,
) -> list[Transfer]:
    """Follow one hydrogen; ``ratios`` are distances in units of covalent sums, shape (frames, heavy)."""
    nearest = ratios.argmin(axis=1)
    partner, events = int(nearest[0]), []
    candidate, since = -1, 0
    changed = np.flatnonzero(nearest != partner)
    # Before the first frame in which anything differs there is nothing to see.
    for k in range(int(changed[0]) if changed.size else len(nearest), len(nearest)):
        new = int(nearest[k])
        if new == partner or ratios[k, new] > TRANSFERRED_SCALE or ratios[k, partner] < FORMED_SCALE:
            candidate = -1
            continue
        if new != candidate:
            candidate, since = new, k
        if k - since + 1 == hold_frames:
            events.append((partner, new, since))
            partner, candidate = new, -1
    ends = [*(start for _, _, start in events[1:]), len(nearest)][: len(events)]
    return [
        Transfer(
            donor=int(heavy[old]),
            hydrogen=hydrogen,
            acceptor=int(heavy[new]),
            frame=start,
            time_fs=None if frame_time_fs is None else start * frame_time_fs,
            frames_held=end - start,
        )
        for (old, new, start), end in zip(events, ends, strict=True)
    ]


def transfer_path(
    before: Structure, after: Structure, transfer: tuple[int, int, int], images: int
) -> list[Structure]:
    """Return structures between two relaxed ones, the hydrogen and its two partners held in each.

    Every atom goes straight from one place to the other. Donor, hydrogen and acceptor are then held, so
    that a relaxation of the rest keeps the O-H distance of the image.

    Parameters
    ----------
    transfer
        Donor, hydrogen, acceptor.
    images
        Between the ends, at least 3.

    Raises
    ------
    InputError
        If there are too few images.
    """
    if images < FEWEST_IMAGES:
        raise InputError(
            f"{images} images do not show a summit.", f"Ask for at least {FEWEST_IMAGES} images."
        )
    start, end = np.asarray(before.frac_coords), np.asarray(after.frac_coords)
    way = end - start
    way -= np.round(way)
    free = before.site_properties.get("selective_dynamics") or [[True] * 3] * len(before)
    held = [[False] * 3 if i in transfer else list(mobile) for i, mobile in enumerate(free)]
    path = []
    for k in range(1, images + 1):
        image = before.copy()
        for i, place in enumerate(start + way * k / (images + 1)):
            image[i].frac_coords = place
        image.add_site_property("selective_dynamics", held)
        path.append(image)
    return path


@dataclass(frozen=True)
class Barrier:
    """Energies along a path, relative to its start.

    Parameters
    ----------
    path
        (distance from hydrogen to acceptor in Angstrom, energy in eV), both ends included.
    barrier_ev
        The highest; ``None`` where it is refused.
    refusal
        Why there is none.
    summit
        The highest structure between the ends; ``None`` where the barrier is refused.
    """

    method: BarrierMethod
    path: tuple[tuple[float, float], ...]
    barrier_ev: float | None
    refusal: str | None
    summit: Structure | None


def barrier(
    before: Calculation,
    path: Sequence[Calculation] | ReactionPath,
    after: Calculation,
    transfer: tuple[int, int, int],
) -> Barrier:
    """Return the barrier along a relaxed band or a constrained scan, or why it is refused."""
    if isinstance(path, ReactionPath):
        return _band_barrier(before, path, after, transfer)
    return _scan_barrier(before, path, after, transfer)


def _band_barrier(
    before: Calculation, band: ReactionPath, after: Calculation, transfer: tuple[int, int, int]
) -> Barrier:
    energies_ev = [e - band.energies_ev[0] for e in band.energies_ev]
    distances_ang = [float(s.get_distance(transfer[1], transfer[2])) for s in band.structures]
    refusal = _band_refusal(before, band, after, energies_ev)
    inner = range(1, len(energies_ev) - 1)
    summit = max(inner, key=energies_ev.__getitem__)
    return Barrier(
        method=BarrierMethod.BAND,
        path=tuple(zip(distances_ang, energies_ev, strict=True)),
        barrier_ev=None if refusal else max(energies_ev),
        refusal=refusal,
        summit=None if refusal else band.structures[summit],
    )


def _band_refusal(
    before: Calculation, band: ReactionPath, after: Calculation, energies_ev: Sequence[float]
) -> str | None:
    if len({before.level.fingerprint, band.level.fingerprint, after.level.fingerprint}) > 1:
        return "The band and its ends were executed at different levels of theory."
    target = band.force_target_ev_per_ang
    ends = ("before", "after")
    for end, force in zip(ends, band.end_forces_ev_per_ang, strict=True):
        if force > _FORCE_SLACK * target:
            return (
                f"The state {end} the transfer is no minimum: {force:.3f} eV/A is left on an atom, "
                f"{target:g} allowed. Relax it further (--set max_steps=800)."
            )
    for end, calculation, energy_ev in zip(
        ends, (before, after), (band.energies_ev[0], band.energies_ev[-1]), strict=True
    ):
        if abs(calculation.energy_ev - energy_ev) > _SAME_ENERGY_EV:
            return f"The energy {end} the transfer is not that of its relaxation when computed again."
    worst = max(band.image_forces_ev_per_ang)
    if not band.converged:
        return (
            f"The band did not converge: {worst:.3f} eV/A is left after {band.steps} steps, {target:g} "
            "allowed. Rerun with --set max_steps=800."
        )
    return _summit_refusal(energies_ev, _SAME_ENERGY_EV)


def _summit_refusal(energies_ev: Sequence[float], allowed_dip_ev: float) -> str | None:
    """Return why the highest point of a path between two minima is no barrier; ``None`` where it is one."""
    summit = max(range(len(energies_ev)), key=energies_ev.__getitem__)
    # What lies behind the summit does not move a barrier that is counted from before it.
    lowest_ev = min(energies_ev[: summit + 1])
    if lowest_ev < energies_ev[0] - allowed_dip_ev:
        return (
            f"The way passes {energies_ev[0] - lowest_ev:.2f} eV below the state before the transfer: that "
            "is not the lowest state there. Relax from more orientations, or walk from that state."
        )
    if summit in (0, len(energies_ev) - 1):
        return (
            "No image lies above both ends, though both are minima: the summit is between two images. "
            "Ask for more of them (--set barrier_images=9)."
        )
    return None


def _scan_barrier(
    before: Calculation, images: Sequence[Calculation], after: Calculation, transfer: tuple[int, int, int]
) -> Barrier:
    """Return the barrier of a constrained scan.

    The highest image is an estimate of the barrier along this path, good to the spacing of the images; a
    lower way may exist, so it bounds the true barrier from above; hence it is counted from the lowest point
    before it.
    """
    legs = [before, *images, after]
    distances_ang = [float(c.structure.get_distance(transfer[1], transfer[2])) for c in legs]
    energies_ev = [c.energy_ev - before.energy_ev for c in legs]
    loose = [k for k, c in enumerate(images, start=1) if not c.ionic_converged]
    refusal = None
    if loose:
        refusal = f"Image {loose[0]} of {len(images)} did not converge; rerun it with --set max_steps=800."
    elif len({c.level.fingerprint for c in legs}) > 1:
        refusal = "The images were executed at different levels of theory."
    else:
        refusal = _summit_refusal(energies_ev, _RELAXED_ANEW_EV)
    highest = max(images, key=lambda c: c.energy_ev)
    above_ev = max(energies_ev) - min(energies_ev[: energies_ev.index(max(energies_ev)) + 1])
    return Barrier(
        method=BarrierMethod.SCAN,
        path=tuple(zip(distances_ang, energies_ev, strict=True)),
        barrier_ev=None if refusal else above_ev,
        refusal=refusal,
        summit=None if refusal else highest.structure,
    )
