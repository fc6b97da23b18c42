"""A molecule turned and tilted over a surface in steps: the scan behind an orientation curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from epilayer.model.base import Frozen
from epilayer.model.errors import StructureError
from epilayer.model.units import Deg
from epilayer.structures.molecules import bonds
from epilayer.structures.sites import (
    Surface,
    lateral_images,
    lateral_squares_ang2,
    lift_ang,
    open_sites,
    polar_hydrogens,
    targets_ang,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Molecule

    Floats = NDArray[np.float64]

#: The molecule and its own periodic image stay this far apart.
_IMAGE_ANG: Final = 2.0


class Orientation(Frozen):
    """A slab with a molecule on it in one of the orientations of a scan.

    Parameters
    ----------
    turn_deg
        About the molecule's long axis; at 0 the plane of its heavy atoms is parallel to the surface.
    tilt_deg
        Of the long axis out of the surface: 0 lies, 90 stands.
    site
        The surface atom under the molecule, such as ``V12(5)``.
    structure
        The slab's atoms, then the molecule's, each in its own order.
    """

    label: str
    turn_deg: Deg
    tilt_deg: Deg
    site: str
    structure: Structure


def scan(
    slab: Structure, molecule: Molecule, *, turns_deg: Sequence[float], tilts_deg: Sequence[float]
) -> list[Orientation]:
    """Place a molecule over the most open cation of a slab in every combination of turn and tilt.

    The hetero atom nearest to the molecule's middle is placed over the cation, the long axis along the
    direction of the cell in which the molecule's images leave it most room; each orientation is lowered
    until the first pair of atoms touches.

    Parameters
    ----------
    slab
        c axis along the normal, vacuum above; never moved.
    molecule
        Free molecule.
    turns_deg, tilts_deg
        Steps of the scan, degrees.

    Raises
    ------
    StructureError
        If the cell is too small for the molecule in one of the orientations, or the slab shows no
        cation.
    """
    surface = Surface(slab)
    cations = [site for site, _ in open_sites(surface) if _is_cation(site.element)]
    if not cations:
        raise StructureError(
            "The top face shows no cation to put a molecule over.",
            "Choose another termination of this facet.",
        )
    # What is most undercoordinated binds an ether hardest; among equals, the one that is most exposed.
    site = max(
        cations, key=lambda s: (_is_redox_active(s.element), s.missing, s.exposed_ang2, -(s.index or 0))
    )
    spot = surface.coords[site.index or 0]
    body = _standard_frame(molecule)
    middle = body[_middle_donor(molecule, body)]
    symbols = [str(s.specie.symbol) for s in molecule]
    target = targets_ang(symbols, polar_hydrogens(molecule), surface.symbols, surface.is_polar_h)
    shifts = lateral_images(surface, float(target.max()) + 1.0)
    found = []
    for tilt in tilts_deg:
        for turn in turns_deg:
            about_axis = Rotation.from_euler("x", turn, degrees=True)
            out_of_plane = Rotation.from_euler("y", -tilt, degrees=True)
            shape = (out_of_plane * about_axis).apply(body - middle)
            coords = _along_roomiest(shape, surface) + spot
            squares = lateral_squares_ang2(surface, coords, shifts)
            coords[:, 2] += lift_ang(surface, coords, squares, target)
            found.append(
                Orientation(
                    label=f"turn{turn:g}-tilt{tilt:g}",
                    turn_deg=turn,
                    tilt_deg=tilt,
                    site=str(site),
                    structure=_joined(surface, molecule, coords),
                )
            )
    return found


def _is_cation(element: str) -> bool:
    from pymatgen.core.periodic_table import Element

    return bool(Element(element).is_metal)


def _is_redox_active(element: str) -> bool:
    from pymatgen.core.periodic_table import Element

    return bool(Element(element).is_transition_metal)


def _standard_frame(molecule: Molecule) -> Floats:
    """Coordinates with the long axis along x and the mean plane of the heavy atoms normal to z."""
    coords = np.asarray(molecule.cart_coords)
    heavy = [i for i, s in enumerate(molecule) if s.specie.symbol != "H"] or list(range(len(molecule)))
    centred = coords - coords[heavy].mean(axis=0)
    axes = np.linalg.svd(centred[heavy])[2]
    axes[2] = np.cross(axes[0], axes[1])
    # Singular vectors have no sign of their own: the first atom decides.
    for k in (0, 1):
        if (centred[heavy[0]] @ axes[k]) < 0:
            axes[k] *= -1
            axes[2] *= -1
    frame: Floats = centred @ axes.T
    return frame


def _middle_donor(molecule: Molecule, body: Floats) -> int:
    linked = {i for bond in bonds(molecule) for i in bond}
    donors = [i for i, s in enumerate(molecule) if s.specie.symbol in {"O", "N"} and i in linked]
    return min(donors or range(len(molecule)), key=lambda i: (round(float(np.linalg.norm(body[i])), 3), i))


def _along_roomiest(shape: Floats, surface: Surface) -> Floats:
    """Turn about the normal so that periodic images stay furthest apart; refuse where they touch."""
    best, widest = shape, -np.inf
    for azimuth in range(0, 180, 15):
        turned = Rotation.from_euler("z", azimuth, degrees=True).apply(shape)
        room = _image_distance_ang(turned, surface)
        if room > widest + 1e-6:
            best, widest = turned, room
    if widest < _IMAGE_ANG:
        a, b = surface.widths_ang
        raise StructureError(
            f"The molecule comes within {widest:.1f} A of its image in a {a:.1f} x {b:.1f} A cell.",
            "Use a wider supercell of the slab, or a shorter molecule.",
        )
    return best


def _image_distance_ang(coords: Floats, surface: Surface) -> float:
    cells = [
        na * surface.cell[0] + nb * surface.cell[1]
        for na in (-1, 0, 1)
        for nb in (-1, 0, 1)
        if (na, nb) > (0, 0)
    ]
    pairs = coords[None, :, :] - coords[:, None, :]
    return min(float(np.sqrt(((pairs + shift) ** 2).sum(axis=2).min())) for shift in cells)


def _joined(surface: Surface, molecule: Molecule, coords: Floats) -> Structure:
    slab = surface.slab
    fill = {"selective_dynamics": [True, True, True], "magmom": 0.0}
    return Structure(
        Lattice(slab.lattice.matrix),
        [*(s.specie.symbol for s in slab), *(s.specie.symbol for s in molecule)],
        np.vstack([slab.frac_coords, surface.fractional(coords)]),
        site_properties={
            key: [*values, *([fill.get(key)] * len(molecule))] for key, values in slab.site_properties.items()
        },
    )
