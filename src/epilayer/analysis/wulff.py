"""The Wulff construction: the shape of a crystal of given volume whose surface costs least.

The shape is the set of points within ``gamma`` of the centre along the normal of every face
(G. Wulff, Z. Kristallogr. 34, 449 (1901); C. Herring, Phys. Rev. 82, 87 (1951), doi 10.1103/PhysRev.82.87).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import HalfspaceIntersection, QhullError

from epilayer import __version__
from epilayer.model.records import Refusal, RefusalCode, Status
from epilayer.model.surface import WulffFace, WulffFacet, WulffShape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from epilayer.model.level import Scalar
    from epilayer.model.surface import SurfaceEnergy

    Floats = NDArray[np.float64]
    Miller = tuple[int, int, int]

_FAR: Final = 1e3
"""A corner this many surface energies away means that nothing closes the shape there."""
_SAME: Final = 1e-7
_RIGHT_DEG: Final = 1.0


@dataclass(frozen=True)
class CrystalClass:
    """What multiplies a facet into faces.

    Parameters
    ----------
    lattice_ang
        Rows: the lattice vectors that the Miller indices refer to, (3, 3).
    rotations
        The point group in the basis of that lattice, columns as spglib has them, (operations, 3, 3).
    symbol
        Its symbol, such as ``4/mmm``.
    """

    lattice_ang: Floats
    rotations: NDArray[np.int64]
    symbol: str

    def faces(self, miller: Miller) -> list[Miller]:
        """Return every face of a facet: a slab has two equal faces, so the opposite one is among them."""
        rows = {tuple(int(x) for x in np.array(miller) @ rotation) for rotation in self.rotations}
        return sorted({(s * h, s * k, s * l) for h, k, l in rows for s in (1, -1)})  # noqa: E741

    def normal(self, miller: Miller) -> Floats:
        """Return the unit normal of a face, (3,)."""
        raw = np.linalg.inv(self.lattice_ang) @ np.array(miller, dtype=float)
        return np.asarray(raw / np.linalg.norm(raw))


def wulff_shape(
    records: Sequence[SurfaceEnergy],
    millers: Mapping[str, Miller],
    crystal: CrystalClass,
    parameters: Mapping[str, Scalar] | None = None,
) -> WulffShape:
    """Construct the shape from the lowest certified termination of every facet, or refuse it.

    Parameters
    ----------
    records
        Surface energies at one level of theory; several terminations a facet.
    millers
        The index of every facet that they are of.
    """
    if not records or len({r.level.fingerprint for r in records}) != 1:
        message = "a Wulff shape needs surface energies, all of one level of theory"
        raise ValueError(message)
    certified = [r for r in records if r.status is Status.CERTIFIED]
    lowest: dict[str, SurfaceEnergy] = {}
    for record in certified:
        kept = lowest.get(record.facet)
        if kept is None or _gamma(record) < _gamma(kept):
            lowest[record.facet] = record
    left_out = tuple(f"{r.termination}: {r.refusals[0].what}" for r in records if r not in certified)
    refusals = [
        Refusal(
            code=RefusalCode.FACET_WITHOUT_VALUE,
            subject=f"({facet})",
            what=f"no termination of ({facet}) has a surface energy",
            remedy="see why each was refused, or leave the facet out of the study",
        )
        for facet in sorted({r.facet for r in records} - set(lowest))
    ]
    facets: tuple[WulffFacet, ...] = ()
    faces: list[WulffFace] = []
    mean = None
    if not refusals:
        gammas = {facet: _gamma(record) for facet, record in lowest.items()}
        try:
            faces = _faces(gammas, millers, crystal)
        except _OpenShapeError as error:
            refusals.append(
                Refusal(
                    code=RefusalCode.SHAPE_NOT_CLOSED,
                    subject=", ".join(f"({facet})" for facet in gammas),
                    what=str(error),
                    remedy="compute more facets, whose faces close the shape in every direction",
                )
            )
        else:
            facets = _facets(lowest, gammas, faces, millers, crystal)
            mean = sum(f.area_fraction * f.surface_energy_j_per_m2 for f in facets)
    return WulffShape(
        cathode=records[0].cathode,
        level=records[0].level,
        status=Status.REFUSED if refusals else Status.CERTIFIED,
        point_group=crystal.symbol,
        facets=facets,
        faces=tuple(faces),
        mean_surface_energy_j_per_m2=mean,
        left_out=left_out,
        refusals=tuple(refusals),
        code_version=__version__,
        parameters=dict(parameters or {}),
    )


class _OpenShapeError(Exception):
    """The faces do not close a shape."""


def _gamma(record: SurfaceEnergy) -> float:
    assert record.surface_energy_j_per_m2 is not None  # noqa: S101  (certified)
    return record.surface_energy_j_per_m2


def _faces(
    gammas: Mapping[str, float], millers: Mapping[str, Miller], crystal: CrystalClass
) -> list[WulffFace]:
    """Cut the shape out of space; faces that do not show have no corners."""
    if min(gammas.values()) <= 0:
        raise _OpenShapeError("a surface energy of zero or less leaves no shape")
    planes = [(facet, m) for facet in gammas for m in crystal.faces(millers[facet])]
    normals = np.array([crystal.normal(m) for _, m in planes])
    distances = np.array([gammas[facet] for facet, _ in planes])
    scale = float(distances.max())
    # A far box, so that an open shape shows as corners on it instead of a failure of the geometry code.
    box = np.vstack([np.eye(3), -np.eye(3)])
    cuts = np.column_stack(
        [np.vstack([normals, box]), -np.concatenate([distances / scale, np.full(6, _FAR)])]
    )
    try:
        corners = HalfspaceIntersection(cuts, np.zeros(3)).intersections
    except QhullError as error:  # degenerate input; ours is not, but the library may think so
        raise _OpenShapeError(f"the faces cannot be intersected ({error})") from error
    if np.abs(corners).max() > _FAR / 2:
        raise _OpenShapeError("the faces of these facets do not close a shape")
    faces = []
    for (facet, miller), normal, distance in zip(planes, normals, distances / scale, strict=True):
        on_face = corners[np.abs(corners @ normal - distance) < _SAME]
        ring = _around(on_face, normal) * scale
        faces.append(
            WulffFace(
                facet=facet,
                miller=miller,
                corners_j_per_m2=tuple((float(x), float(y), float(z)) for x, y, z in ring),
            )
        )
    return faces


def _around(corners: Floats, normal: Floats) -> Floats:
    """Return the distinct corners of a face in order around it; none where it is a point or an edge."""
    distinct: list[Floats] = []
    for corner in corners:
        if all(np.linalg.norm(corner - other) > 10 * _SAME for other in distinct):
            distinct.append(corner)
    if len(distinct) < 3:  # noqa: PLR2004  (a polygon)
        return np.zeros((0, 3))
    points = np.array(distinct)
    spokes = points - points.mean(axis=0)
    across = spokes[0] / np.linalg.norm(spokes[0])
    angles = np.arctan2(spokes @ np.cross(normal, across), spokes @ across)
    ring = points[np.argsort(angles)]
    # A corner on a straight edge is none.
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bends = np.linalg.norm(np.cross(before, after), axis=1) > _SAME
    return np.asarray(ring[bends])


def face_area(corners: Sequence[Sequence[float]]) -> float:
    """Return the area of a flat polygon in the square of its corners' unit."""
    ring = np.array(corners, dtype=float)
    if len(ring) < 3:  # noqa: PLR2004  (a polygon)
        return 0.0
    return float(np.linalg.norm(np.cross(ring, np.roll(ring, -1, axis=0)).sum(axis=0)) / 2)


def _fractions(facets: Sequence[str], faces: Sequence[WulffFace]) -> dict[str, float]:
    areas = {facet: sum(face_area(f.corners_j_per_m2) for f in faces if f.facet == facet) for facet in facets}
    whole = sum(areas.values())
    return {facet: area / whole for facet, area in areas.items()}


def _facets(
    lowest: Mapping[str, SurfaceEnergy],
    gammas: Mapping[str, float],
    faces: Sequence[WulffFace],
    millers: Mapping[str, Miller],
    crystal: CrystalClass,
) -> tuple[WulffFacet, ...]:
    names = sorted(gammas)
    central = _fractions(names, faces)
    spans: dict[str, list[float]] = {name: [central[name]] for name in names}
    # The shape depends on ratios only, so the extremes of a share lie at corners of the intervals.
    exact = not any(record.uncertainty_j_per_m2 for record in lowest.values())
    for signs in () if exact else itertools.product((-1, 1), repeat=len(names)):
        moved = {
            name: gammas[name] + sign * (lowest[name].uncertainty_j_per_m2 or 0.0)
            for name, sign in zip(names, signs, strict=True)
        }
        try:
            shares = _fractions(names, _faces(moved, millers, crystal))
        except _OpenShapeError:
            shares = dict.fromkeys(names, 0.0) | {min(moved, key=lambda n: moved[n]): 1.0}
        for name in names:
            spans[name].append(shares[name])
    found = []
    for name in names:
        mine = [face for face in faces if face.facet == name]
        ring = np.array(mine[0].corners_j_per_m2, dtype=float)
        ratio, right = _edges(ring)
        found.append(
            WulffFacet(
                facet=name,
                termination=lowest[name].termination,
                surface_energy_j_per_m2=gammas[name],
                uncertainty_j_per_m2=lowest[name].uncertainty_j_per_m2 or 0.0,
                area_fraction=min(central[name], 1.0),
                low_area_fraction=max(0.0, min(spans[name])),
                high_area_fraction=min(1.0, max(spans[name])),
                faces=len(mine),
                corners=len(ring),
                aspect_ratio=ratio,
                right_angled=right,
            )
        )
    return tuple(found)


def _edges(ring: Floats) -> tuple[float | None, bool]:
    """Return longest over shortest edge of a polygon, and whether all its angles are right."""
    if len(ring) == 0:
        return None, False
    edges = np.roll(ring, -1, axis=0) - ring
    lengths = np.linalg.norm(edges, axis=1)
    directions = edges / lengths[:, None]
    cosines = np.einsum("ij,ij->i", directions, np.roll(directions, 1, axis=0))
    right = bool((np.abs(np.degrees(np.arccos(np.clip(cosines, -1, 1))) - 90) < _RIGHT_DEG).all())
    return float(lengths.max() / lengths.min()), right
