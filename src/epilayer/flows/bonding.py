"""Bonds of a molecule on a surface: scan of orientations, the same bond free and adsorbed, abstraction.

Relaxed by one engine, measured by another that knows electrons: LOBSTER over VASP, or extended
tight binding on a laptop. The molecule keeps the order of its atoms from the box to the surface.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from jobflow import Flow, Job, Maker, Response, job
from pydantic import Field
from pymatgen.core import Molecule, Structure

from epilayer.analysis.abstraction import transfer_path
from epilayer.analysis.bond_study import (
    IN_PORE,
    HydrogenTransfer,
    References,
    ScannedOrientation,
    assess_scan,
    most_stable_whole,
    title,
)
from epilayer.analysis.bonding import nearest_transfer, transferred
from epilayer.engines.base import BondingEngine, PathEngine
from epilayer.engines.xtb.bond_indices import XtbBonds
from epilayer.flows.adsorption import facet_slab
from epilayer.flows.base import mark
from epilayer.model.base import Frozen
from epilayer.model.bonding import BarrierMethod, BondStudy
from epilayer.model.cohp import Bond
from epilayer.model.errors import InputError
from epilayer.model.path import FEWEST_IMAGES, ReactionPath
from epilayer.model.units import Deg
from epilayer.structures import crystals, molecules, pores
from epilayer.structures import orientations as orientation_builder
from epilayer.structures.molecules import bonds as bonds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.engines.base import BondingMaker, Engine
    from epilayer.flows.adsorption import FacetSlab
    from epilayer.flows.base import Inputs
    from epilayer.model.bonding import BondsRefused, ElectronicStructure
    from epilayer.model.cohp import Bonding
    from epilayer.model.ligand import Ligand
    from epilayer.model.mof import Mof
    from epilayer.model.records import Calculation


class BondMeter(Protocol):
    """What measures bonds: a VASP engine (LOBSTER), or :class:`epilayer.engines.xtb.XtbBonds`."""

    def bonding(self, label: str) -> BondingMaker:
        """Return the maker of one measurement."""


class OrientationScan(Frozen):
    """Which orientations are tried.

    Attributes
    ----------
    turns_deg
        About the molecule's long axis.
    tilts_deg
        Of the long axis out of the surface.
    """

    turns_deg: tuple[Deg, ...] = Field(default=(0.0, 90.0, 180.0, 270.0), min_length=1)
    tilts_deg: tuple[Deg, ...] = Field(default=(0.0, 60.0), min_length=1)


@dataclass(frozen=True)
class LoadedHost:
    """A framework, empty and with each molecule in a pore of it; the host's atoms first, and held.

    Parameters
    ----------
    loaded
        By the molecule's name.
    """

    name: str
    empty: Structure
    loaded: dict[str, Structure]


@dataclass(kw_only=True)
class BondStudyMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """How a surface changes the bonds of molecules, by orientation, and whether it takes a hydrogen.

    Parameters
    ----------
    engine
        Relaxes.
    meter
        Measures the bonds of what was relaxed.
    scan
        Orientations.
    barrier
        How the barrier over which a hydrogen goes to the surface is found; ``None`` leaves it out.
    barrier_images
        Between the ends of that path.
    """

    engine: Engine
    meter: BondMeter
    scan: OrientationScan = field(default_factory=OrientationScan)
    barrier: BarrierMethod | None = None
    barrier_images: int = 5
    name: str = "bonds on surfaces"

    def __post_init__(self) -> None:
        """Refuse a path that could not show a summit, and a band that the engine cannot relax."""
        if self.barrier_images < FEWEST_IMAGES:
            raise InputError(
                f"{self.barrier_images} images do not show a summit.", f"Ask for {FEWEST_IMAGES} or more."
            )
        if self.barrier is BarrierMethod.BAND and not isinstance(self.engine, PathEngine):
            raise InputError(
                f"The engine of {self.engine.level.name} relaxes no elastic band.",
                "Take the constrained scan (--set barrier=scan), or a machine-learned level.",
            )

    def make(
        self,
        cathode: str,
        facet_slabs: Mapping[str, Sequence[FacetSlab]],
        segments: Sequence[Ligand],
        boxes: Mapping[str, Structure],
        pore: LoadedHost | None = None,
    ) -> Flow:
        """Build the flow.

        Parameters
        ----------
        facet_slabs
            Clean slabs by charge state of the cathode.
        segments
            Molecules, each scanned on each slab.
        boxes
            Each molecule in its box, by its name.
        pore
            A framework with each molecule in its pore, for contrast; the host is held.
        """
        level = self.engine.level.name
        jobs: list[Job] = []
        free: dict[str, tuple[Any, Any]] = {}
        for molecule in segments:
            made = self.engine.relax(f"molecule {molecule.name}, {level}").make(boxes[molecule.name])
            bonds = _named_bonds(boxes[molecule.name])
            measured = self.meter.bonding(f"bonds of {molecule.name}").make(made.output.structure, bonds)
            free[molecule.name] = (made.output, measured.output)
            jobs += [made, measured]
        for state, slabs in facet_slabs.items():
            for slab in slabs:
                place = f"{cathode}, {state} ({slab.facet})"
                clean = self.engine.relax(f"slab {place}, {level}").make(slab.structure)
                jobs.append(clean)
                for molecule in segments:
                    labels = _labels(cathode, state, slab.facet, slab.termination, molecule.name)
                    scanned = scan_orientations(
                        self.engine,
                        self.meter,
                        self.scan,
                        (self.barrier, self.barrier_images),
                        labels,
                        _named_bonds(boxes[molecule.name]),
                        clean.output,
                        *free[molecule.name],
                    )
                    jobs.append(mark(scanned, f"orientations of {molecule.name} on {place}"))
        if pore is not None:
            jobs += self._in_pore(pore, segments, boxes, free)
        return Flow(jobs, name=self.name)

    def _in_pore(
        self,
        pore: LoadedHost,
        segments: Sequence[Ligand],
        boxes: Mapping[str, Structure],
        free: Mapping[str, tuple[Any, Any]],
    ) -> list[Job]:
        empty = self.engine.static(f"{pore.name}, empty, {self.engine.level.name}").make(pore.empty)
        jobs = [empty]
        for molecule in segments:
            title = f"{molecule.name} in {pore.name}"
            bonds = _named_bonds(boxes[molecule.name])
            start = pore.loaded[molecule.name]
            made = self.engine.relax(f"relax {title}").make(start)
            measured = self.meter.bonding(f"bonds of {title}").make(
                made.output.structure, _shifted(bonds, len(pore.empty))
            )
            labels = _labels(pore.name, IN_PORE, "none", "none", molecule.name)
            placed = orientation_builder.Orientation(
                label=IN_PORE, turn_deg=0.0, tilt_deg=0.0, site=IN_PORE, structure=start
            )
            lone = OrientationScan(turns_deg=(0.0,), tilts_deg=(0.0,))
            held, strengths_free = free[molecule.name]
            judged = judge_bonds(
                lone, labels, bonds, empty.output, held, strengths_free, [placed], [made.output],
                [measured.output], None,
            )  # fmt: skip
            mark(judged, f"judge bonds, {title}", "bond_strength")
            jobs += [made, measured, judged]
        return jobs


def _labels(*values: str) -> dict[str, str]:
    return dict(zip(("cathode", "state", "facet", "termination", "molecule"), values, strict=True))


def _named_bonds(molecule: Structure) -> list[Bond]:
    return [
        Bond(name=f"{molecule[i].specie.symbol}{i}-{molecule[j].specie.symbol}{j}", atoms=(i, j))
        for i, j in bonds_of(molecule)
    ]


def _shifted(bonds: Sequence[Bond], n_slab: int) -> list[Bond]:
    return [Bond(name=b.name, atoms=(b.atoms[0] + n_slab, b.atoms[1] + n_slab)) for b in bonds]


@job  # type: ignore[untyped-decorator]
def scan_orientations(
    engine: Engine,
    meter: BondMeter,
    scan: OrientationScan,
    walk: tuple[BarrierMethod | None, int],
    labels: dict[str, str],
    bonds: list[Bond],
    slab: Calculation,
    molecule: Calculation,
    free: Bonding | ElectronicStructure | BondsRefused,
) -> Response[Any]:
    """Place every orientation on the relaxed slab; replaced by their relaxations, bonds and the record."""
    whole = Molecule(molecule.structure.species, molecule.structure.cart_coords)
    placed = orientation_builder.scan(
        slab.structure, whole, turns_deg=scan.turns_deg, tilts_deg=scan.tilts_deg
    )
    n_slab = len(slab.structure)
    name = title(labels)
    jobs: list[Job] = []
    relaxed, measured = [], []
    for one in placed:
        made = engine.relax(f"relax {name}, {one.label}").make(one.structure)
        bonding = meter.bonding(f"bonds of {name}, {one.label}").make(
            made.output.structure, _shifted(bonds, n_slab)
        )
        jobs += [made, bonding]
        relaxed.append(made.output)
        measured.append(bonding.output)
    taken = take_hydrogen(engine, name, bonds, slab, molecule, relaxed)
    jobs.append(mark(taken, f"hydrogen abstraction, {name}"))
    path, (method, images) = None, walk
    if method is not None:
        walked = walk_path(engine, name, method, images, bonds, slab, molecule, relaxed, taken.output)
        jobs.append(mark(walked, f"path of the hydrogen, {name}"))
        path = walked.output
    judged = judge_bonds(
        scan, labels, bonds, slab, molecule, free, placed, relaxed, measured, taken.output, path, method
    )
    mark(judged, f"judge bonds, {name}", "bond_strength")
    flow = Flow([*jobs, judged], output=judged.output, name=name)
    return Response(replace=flow)


@job  # type: ignore[untyped-decorator]
def take_hydrogen(
    engine: Engine,
    title: str,
    bonds: list[Bond],
    slab: Calculation,
    molecule: Calculation,
    relaxed: list[Calculation],
) -> Response[Any] | None:
    """Put the nearest hydrogen of a carbon onto the surface's oxygen and relax; replaced by that job."""
    best = most_stable_whole(bonds, slab, molecule, relaxed)
    if best is None:
        return None
    way = nearest_transfer(relaxed[best].structure, len(slab.structure), [b.atoms for b in bonds])
    if way is None:
        return None
    start = transferred(relaxed[best].structure, way[1], way[2])
    made = engine.relax(f"relax {title}, hydrogen {way[1]} on oxygen {way[2]}").make(start)
    return Response(replace=Flow([made], output=made.output, name=made.name))


@job  # type: ignore[untyped-decorator]
def walk_path(
    engine: Engine,
    title: str,
    method: BarrierMethod,
    images: int,
    bonds: list[Bond],
    slab: Calculation,
    molecule: Calculation,
    relaxed: list[Calculation],
    after: Calculation | None,
) -> Response[Any] | None:
    """Walk from the adsorbed molecule to the transferred hydrogen; replaced by the jobs that do."""
    best = most_stable_whole(bonds, slab, molecule, relaxed)
    if best is None or after is None or not after.ionic_converged:
        return None
    start = relaxed[best].structure
    way = nearest_transfer(start, len(slab.structure), [b.atoms for b in bonds])
    if way is None:
        return None
    if method == BarrierMethod.BAND and isinstance(engine, PathEngine):  # it came as its text
        band = engine.path(f"{title}, band of the hydrogen's path", images).make(start, after.structure)
        return Response(replace=Flow([band], output=band.output, name=f"path, {title}"))
    made = [
        engine.relax(f"relax {title}, image {k} of the hydrogen's path").make(image)
        for k, image in enumerate(transfer_path(start, after.structure, way, images), start=1)
    ]
    return Response(replace=Flow(made, output=[m.output for m in made], name=f"path, {title}"))


@job  # type: ignore[untyped-decorator]
def judge_bonds(
    scan: OrientationScan,
    labels: dict[str, str],
    bonds: list[Bond],
    slab: Calculation,
    molecule: Calculation,
    free: Bonding | ElectronicStructure | BondsRefused,
    placed: list[orientation_builder.Orientation],
    relaxed: list[Calculation],
    measured: list[Bonding | ElectronicStructure | BondsRefused],
    after: Calculation | None,
    path: list[Calculation] | ReactionPath | None = None,
    asked: BarrierMethod | None = None,
) -> BondStudy:
    """Return the record of a scan; ``path`` and ``asked`` of the barrier, where one was asked for."""
    scanned = [
        ScannedOrientation(one.label, one.turn_deg, one.tilt_deg, one.site, one.structure, made, found)
        for one, made, found in zip(placed, relaxed, measured, strict=True)
    ]
    return assess_scan(
        labels,
        bonds,
        References(slab, molecule, free),
        scanned,
        HydrogenTransfer(after, path, asked),
        {"turns_deg": str(scan.turns_deg), "tilts_deg": str(scan.tilts_deg)},
    )


_CHAIN = re.compile(r"(peo|pom)([1-9][0-9]?)")
_NARROW_ANG = 6.0
_AS_CUT = "as cut"


def bond_study(
    inputs: Inputs,
    *,
    level: str,
    cathode: str,
    facets: Sequence[str],
    states: Sequence[str],
    chains: Sequence[str],
    turns: int,
    tilts_deg: Sequence[float],
    max_steps: int,
    seed: int,
    narrow: bool,
    barrier: BarrierMethod | None = None,
    barrier_images: int = 5,
    pore: str = "",
) -> Flow:
    """Build the study of some polymer segments on some facets of a cathode, by names and a few numbers.

    Parameters
    ----------
    chains
        ``peo`` or ``pom`` and the number of units; the segments are capped with methyl.
    turns
        Steps of the turn about the segment's long axis, over 360 degrees.
    narrow
        Use the narrowest cells that a short segment fits: quicker, and closer to its own images.
    barrier, barrier_images
        Of the path over which a hydrogen goes to the surface; see :class:`BondStudyMaker`.
    pore
        A framework into whose pores the segments are put as well; empty for none.

    Raises
    ------
    InputError
        On a chain that is none.
    """
    material = inputs.cathode(cathode)
    if narrow:
        cut = tuple(f.model_copy(update={"min_width_ang": _NARROW_ANG}) for f in material.facets)
        material = material.model_copy(update={"facets": cut})
    engine = inputs.engine(level, material, max_steps=max_steps)
    segments = [_segment(name) for name in chains]
    study = BondStudyMaker(
        engine=engine,
        meter=engine if isinstance(engine, BondingEngine) else XtbBonds(),
        scan=OrientationScan(
            turns_deg=tuple(360.0 * k / turns for k in range(turns)), tilts_deg=tuple(tilts_deg)
        ),
        barrier=barrier,
        barrier_images=barrier_images,
        name=f"bonds on {cathode}",
    )
    boxes = {
        s.name: molecules.in_box(molecules.build(s, seed), vacuum_ang=engine.level.molecule_vacuum_ang)
        for s in segments
    }
    slabs = {s: [facet_slab(material, f, None if s == _AS_CUT else s) for f in facets] for s in states}
    host = loaded_host(inputs.mof(pore), segments, seed) if pore else None
    return study.make(cathode, slabs, segments, boxes, host)


def loaded_host(mof: Mof, segments: Sequence[Ligand], seed: int) -> LoadedHost:
    """Put one of each segment into a pore of the primitive cell."""
    cell = crystals.framework(mof).get_primitive_structure()
    framework = pores.Framework(cell, mof.name)
    loaded = {}
    for segment in segments:
        made = pores.load(framework, [pores.Load(ligand=segment, count=1)], seed=seed).structure
        plain = Structure(made.lattice, made.species, made.frac_coords)
        plain.add_site_property("selective_dynamics", [[k >= len(cell)] * 3 for k in range(len(plain))])
        loaded[segment.name] = plain
    empty = Structure(cell.lattice, cell.species, cell.frac_coords)
    return LoadedHost(name=mof.name, empty=empty, loaded=loaded)


def _segment(name: str) -> Ligand:
    found = _CHAIN.fullmatch(name)
    if found is None:
        raise InputError(f"{name!r} is no chain.", "Write peo or pom and a number of units, such as peo2.")
    return molecules.chain(found[1], int(found[2]), ends="methyl")
