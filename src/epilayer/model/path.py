"""A reaction path: structures between two relaxed ones, with a climbing image on the summit."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.base import Frozen
from epilayer.model.level import LevelOfTheory
from epilayer.model.records import Provenance
from epilayer.model.units import Ang, Ev, EvPerAng, Seconds

#: Between the ends: a path has to be seen on both sides of its summit.
FEWEST_IMAGES: Final = 3


class ReactionPath(Frozen):
    """A relaxed nudged elastic band, as it was found; the analysis decides whether its summit is a barrier.

    Attributes
    ----------
    method
        Which band, in the field's words.
    structures
        Both ends included, shape (images + 2,).
    energies_ev
        Total energies, shape (images + 2,); both ends were computed again, by the band's own engine.
    travelled_ang
        Length of the path from the first end up to each structure, over all atoms.
    image_forces_ev_per_ang
        Largest force of the band on any atom of each image, shape (images,): across the path, and for
        the climbing image the whole force.
    end_forces_ev_per_ang
        Largest force on a free atom at either end.
    """

    label: str
    level: LevelOfTheory
    method: str
    structures: tuple[Structure, ...] = Field(min_length=3)
    energies_ev: tuple[Ev, ...]
    travelled_ang: tuple[Ang, ...]
    image_forces_ev_per_ang: tuple[EvPerAng, ...]
    end_forces_ev_per_ang: tuple[EvPerAng, EvPerAng]
    force_target_ev_per_ang: EvPerAng
    steps: int
    max_steps: int
    wall_time_s: Seconds
    provenance: Provenance

    @property
    def converged(self) -> bool:
        """Whether the band came to rest."""
        return max(self.image_forces_ev_per_ang) <= self.force_target_ev_per_ang

    @property
    def summit(self) -> int:
        """Index of the highest structure."""
        return max(range(len(self.energies_ev)), key=self.energies_ev.__getitem__)
