"""Surface energies of every admissible termination of some facets, with any engine, and the Wulff shape.

Each ordering that was cut is relaxed once as a bulk, in its fixed cell. Every slab starts with its atoms
where those of the relaxed bulk are, its centre held, and both faces relax.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Job, Maker, job
from monty.json import MSONable
from pydantic import Field

from epilayer.analysis.surfaces import ComputedSlab, SurfaceSystem, certify_surface
from epilayer.analysis.wulff import CrystalClass, wulff_shape
from epilayer.flows.base import each_once, mark
from epilayer.model.base import Frozen
from epilayer.model.cathode import miller_index
from epilayer.model.units import PositiveAng
from epilayer.structures import crystals, slabs, surfaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.model.cathode import Cathode, Facet
    from epilayer.model.level import Scalar
    from epilayer.model.records import Calculation
    from epilayer.model.surface import SurfaceEnergy, WulffShape
    from epilayer.structures.slab_types import SlabCut


class SurfaceSettings(Frozen):
    """How surface energies are computed.

    Attributes
    ----------
    thicknesses
        Slab thicknesses of each termination: 1 is the facet's own, 2 adds one twice as thick, which
        shows whether the surface energy is converged.
    hold_thickness_ang
        Thickness of the central region that stays as in the relaxed bulk.
    """

    thicknesses: int = Field(default=2, ge=1, le=3)
    hold_thickness_ang: PositiveAng = 3.0


@dataclass(frozen=True)
class SurfaceCut(MSONable):  # type: ignore[misc]  # monty is untyped
    """A slab as it was cut, and which site of the crystal each of its atoms is a copy of."""

    structure: Structure
    thickness_ang: float
    bulk_sites: list[int]
    frame: list[list[float]]


@dataclass(frozen=True)
class SurfaceSlabs(MSONable):  # type: ignore[misc]  # monty is untyped
    """One termination, cut at one or more thicknesses."""

    system: SurfaceSystem
    cuts: list[SurfaceCut]


def surface_slabs(cathode: Cathode, facet: str, settings: SurfaceSettings) -> list[SurfaceSlabs]:
    """Cut every admissible termination of a facet in its smallest cell, at every thickness.

    Parameters
    ----------
    facet
        Miller index as it is written without brackets, such as ``001`` or ``1-10``.
    """
    rules = cathode.facet(miller_index(facet))
    first = slabs.admissible(cathode, rules, repeats=(1, 1))
    thick = {slab.termination: [slab] for slab in first}
    for times in range(2, settings.thicknesses + 1):
        wanted = rules.model_copy(update={"thickness_ang": times * rules.thickness_ang})
        crystal = surfaces.ordering_of(cathode, first[0].ordering)
        for slab in slabs.admissible(cathode, wanted, ordering=crystal, repeats=(1, 1)):
            # A cut that only exists at one thickness (of half repeats) has no thicker one.
            if slab.termination in thick:
                thick[slab.termination].append(slab)
    return [
        SurfaceSlabs(_system(cathode, slab, rules), [_cut(s) for s in thick[slab.termination]])
        for slab in first
    ]


@dataclass(kw_only=True)
class SurfaceEnergyMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Surface energies of every admissible termination of some facets, and the Wulff shape from them.

    Parameters
    ----------
    engines
        Each computes its own bulk, slabs and shape.
    settings
        Thicknesses, and what is held.
    """

    engines: tuple[Engine, ...]
    settings: SurfaceSettings = field(default_factory=SurfaceSettings)
    name: str = "surface energies"

    def make(self, cathode: Cathode, facets: Sequence[str]) -> Flow:
        """Build the flow.

        Raises
        ------
        InputError
            Without an engine or a facet, or where a facet is named twice.
        StructureError
            Where a facet has no admissible termination.
        """
        labels = [cathode.facet(miller_index(facet)).label for facet in facets]
        each_once("level of theory", [engine.level.name for engine in self.engines])
        each_once("facet", labels)
        terminations = [s for facet in facets for s in surface_slabs(cathode, facet, self.settings)]
        bulks = {
            s.system.ordering: surfaces.ordering_of(cathode, s.system.ordering).structure
            for s in terminations
        }
        crystal = crystals.build(cathode)
        symbol, rotations = surfaces.point_group(crystal)
        jobs: list[Job] = []
        for engine in self.engines:
            relaxed: dict[str, Any] = {}
            for ordering, structure in bulks.items():
                bulk = engine.relax(f"bulk {cathode.name} {ordering}, {engine.level.name}").make(
                    _plain(structure)
                )
                relaxed[ordering] = bulk.output
                jobs.append(bulk)
            energies = []
            for one in terminations:
                ordering = one.system.ordering
                made = self._surface(engine, cathode.name, one, bulks[ordering], relaxed[ordering])
                energies.append(made[-1].output)
                jobs += made
            shape = construct_shape(
                energies,
                {label: list(miller_index(label)) for label in labels},
                crystal.lattice.matrix.tolist(),
                rotations.tolist(),
                symbol,
                self._parameters(),
            )
            mark(shape, f"Wulff shape of {cathode.name}, {engine.level.name}", "wulff")
            jobs.append(shape)
        return Flow(jobs, name=self.name)

    def _surface(
        self,
        engine: Engine,
        cathode: str,
        one: SurfaceSlabs,
        crystal: Structure,
        bulk: Calculation,
    ) -> list[Job]:
        """Relax one termination at every thickness, and certify its surface energy."""
        title = f"{cathode} ({one.system.termination})"
        starts, slab_jobs = [], []
        for cut in one.cuts:
            what = f"{title} {cut.thickness_ang:.0f} A"
            start = start_in_bulk(cut, _plain(crystal), bulk, self.settings.hold_thickness_ang)
            mark(start, f"place {what}, {engine.level.name}")
            made = engine.relax(f"slab {what}, {engine.level.name}").make(start.output)
            starts.append(start)
            slab_jobs.append(made)
        final = certify_surface_energy(
            one.system,
            bulk,
            [start.output for start in starts],
            [cut.thickness_ang for cut in one.cuts],
            [made.output for made in slab_jobs],
            self._parameters(),
        )
        mark(final, f"surface energy of {title}, {engine.level.name}", "surface")
        return [*starts, *slab_jobs, final]

    def _parameters(self) -> dict[str, Scalar]:
        return dict(self.settings.model_dump())


@job  # type: ignore[untyped-decorator]
def start_in_bulk(
    cut: SurfaceCut, crystal: Structure, bulk: Calculation, hold_thickness_ang: float
) -> Structure:
    """Return the slab with its atoms as in the relaxed bulk, its centre held."""
    placed = surfaces.as_in_bulk(cut.structure, cut.bulk_sites, cut.frame, crystal, bulk.structure)
    return slabs.hold_bottom(placed, hold_thickness_ang, where="centre")


@job  # type: ignore[untyped-decorator]
def certify_surface_energy(
    system: SurfaceSystem,
    bulk: Calculation,
    starts: list[Structure],
    thicknesses_ang: list[float],
    computed: list[Calculation],
    parameters: dict[str, Scalar],
) -> SurfaceEnergy:
    """Certify or refuse the surface energy of one termination."""
    made = [
        ComputedSlab(start=start, thickness_ang=thickness, calculation=calculation)
        for start, thickness, calculation in zip(starts, thicknesses_ang, computed, strict=True)
    ]
    return certify_surface(system, bulk, made, parameters)


@job  # type: ignore[untyped-decorator]
def construct_shape(
    energies: list[SurfaceEnergy],
    millers: dict[str, list[int]],
    lattice_ang: list[list[float]],
    rotations: list[list[list[int]]],
    point_group: str,
    parameters: dict[str, Scalar],
) -> WulffShape:
    """Construct the Wulff shape from the lowest termination of every facet."""
    crystal = CrystalClass(np.array(lattice_ang), np.array(rotations, dtype=np.int64), point_group)
    indices = {facet: (h, k, l) for facet, (h, k, l) in millers.items()}  # noqa: E741  (h, k, l)
    return wulff_shape(energies, indices, crystal, parameters)


def _system(cathode: Cathode, slab: SlabCut, rules: Facet) -> SurfaceSystem:
    return SurfaceSystem(
        cathode=cathode.name,
        facet=rules.label,
        termination=slab.termination,
        ordering=slab.ordering,
        tasker=slab.tasker,
        moved=" ".join(f"{n} {element}" for element, n in slab.moved),
        broken_bonds_per_nm2={b.pair: b.per_nm2 for b in slab.broken_bonds},
        faces_equivalent=slab.faces_equivalent,
        polar=slabs.is_polar(slab.dipole_e_ang, slab.area_ang2),
    )


def _cut(slab: SlabCut) -> SurfaceCut:
    return SurfaceCut(
        _plain(slab.structure), slab.thickness_ang, list(slab.bulk_sites), [list(row) for row in slab.frame]
    )


def _plain(structure: Structure) -> Structure:
    """Charges have done their work in the cut; the engines read elements."""
    plain = structure.copy()
    plain.remove_oxidation_states()
    return plain
