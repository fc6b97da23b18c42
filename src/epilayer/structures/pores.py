"""Loaded pores: a framework with salt and polymer chains inside, checked item by item."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field
from pymatgen.core.structure import Structure

from epilayer.model.base import Frozen
from epilayer.model.elements import ALKALI
from epilayer.model.errors import InputError, StructureError, UnknownNameError
from epilayer.model.ligand import Ligand
from epilayer.model.units import Ang, EvPerAng, Fraction
from epilayer.structures.chain_growth import Guest, contact_limit_ang, grow
from epilayer.structures.molecules import chain
from epilayer.structures.packing import relax
from epilayer.structures.pore_checks import Check, Contact, Donor, check_pore, closest_contacts, donors_near
from epilayer.structures.sites import ACCEPTORS
from epilayer.structures.void import REACH_ANG, DistanceField, Voids, analyse, free_fraction, widths_ang

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Report = Callable[[str], None]

#: Site properties of a loaded pore: ``part`` is "host" or "guest", ``molecule`` 0 for the host and
#: 1, 2, ... for the guests, ``molecule_name`` what it is.
SITE_PROPERTIES: Final = ("part", "molecule", "molecule_name")
#: The contact table is scaled by the first of these at first, by the later ones when that fails.
_SCALES: Final = (0.82, 0.79, 0.76, 0.74)
_ATTEMPTS: Final = 40
_ACRONYM: Final = 4
_CATION_TRIALS: Final = 4000
_CATION_SHELL_ANG: Final = 0.3
#: Van der Waals volumes of atoms and the loss a bond, A^3 (Zhao 2003, doi 10.1021/jo034808o).
_VOLUMES_ANG3: Final = {
    "H": 7.24,
    "C": 20.58,
    "N": 15.60,
    "O": 14.71,
    "F": 13.31,
    "Cl": 22.45,
    "S": 24.43,
    "P": 24.43,
}
_BOND_ANG3: Final = 5.92
_SALT = re.compile(rf"(?P<cation>{'|'.join(ALKALI)})(?P<anion>[A-Za-z0-9_.-]+?)(?::(?P<count>[^:]*))?")
_CHAIN = re.compile(r"(?P<repeat>[A-Za-z]+?)(?P<units>\d+)(?::(?P<count>[^:]*))?")


class Load(Frozen):
    """So many of one molecule or ion.

    Parameters
    ----------
    ligand
        What it is.
    count
        How many.
    units
        Repeat units of a polymer chain; unset for anything else.
    """

    ligand: Ligand
    count: int = Field(gt=0)
    units: int | None = None


class GuestReport(Frozen):
    """One guest: its place in the list of atoms (from ``first_atom``, ``atoms`` of them)."""

    molecule: int
    name: str
    formula: str
    charge: int
    first_atom: int
    atoms: int


class CationReport(Frozen):
    """Where one cation sits: its nearest donors, and the cavity it is in."""

    atom: int
    element: str
    molecule: int
    donors: tuple[Donor, ...]
    cavity: str
    from_centre_ang: Ang


class PoreReport(Frozen):
    """What was built, and whether it holds.

    Attributes
    ----------
    density_g_per_cm3
        Of the loaded framework.
    contacts
        The closest heavy-heavy, H-heavy and H-H contacts that are not bonds, atoms named.
    voids
        Pores of the empty framework.
    free_volume_fraction
        Share of the cell still outside every van der Waals sphere once it is loaded.
    checks
        The verdict item by item; valid when all hold.
    scale_factor
        Of the contact table with which the guests were grown.
    """

    host: str
    formula: str
    atoms: int
    host_atoms: int
    charge: int
    density_g_per_cm3: float
    guests: tuple[GuestReport, ...]
    contacts: tuple[Contact, ...]
    cations: tuple[CationReport, ...]
    voids: Voids
    free_volume_fraction: Fraction
    checks: tuple[Check, ...]
    valid: bool
    seed: int
    attempts: int
    scale_factor: float
    relaxation_steps: int
    max_force_ev_per_ang: EvPerAng


class LoadedPore(Frozen):
    """A loaded framework: the host's atoms first, where they were, then the guests in order."""

    structure: Structure
    report: PoreReport


def parse_salt(text: str, anions: Mapping[str, Ligand]) -> tuple[Load, Load]:
    """Read a salt such as ``NaFSI:2`` into cations and anions.

    Parameters
    ----------
    text
        Cation, anion and, after a colon, the number of anions (default 1).
    anions
        The anions that are known, by name; case does not count.

    Raises
    ------
    InputError
        On an unknown cation or anion, or a count that is no positive number.
    """
    known = {name.lower(): ligand for name, ligand in anions.items() if ligand.charge < 0}
    # Acronyms are written in capitals: NaFSI, but Naacetate.
    examples = [f"Na{name.upper() if len(name) <= _ACRONYM else name}" for name in known]
    match = _SALT.fullmatch(text.strip())
    if match is None or match["anion"].lower() not in known:
        raise UnknownNameError("salt", text.partition(":")[0], examples)
    anion, count = known[match["anion"].lower()], _count(match["count"], text)
    symbol = match["cation"]
    cation = Ligand(
        name=symbol.lower(),
        title=f"{symbol}+",
        formula=symbol,
        smiles=f"[{symbol}+]",
        charge=1,
        source="an alkali cation with its formal charge",
    )
    return Load(ligand=cation, count=-anion.charge * count), Load(ligand=anion, count=count)


def parse_chain(text: str) -> Load:
    """Read chains such as ``pom15:2``: kind, repeat units and, after a colon, how many (default 1).

    Raises
    ------
    InputError
        On an unknown kind, no length, or a count that is no positive number.
    """
    match = _CHAIN.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f"{text!r} names no chain.", "Give kind, repeat units and count, such as pom15:2 or peo7:2."
        )
    units = int(match["units"])
    return Load(ligand=chain(match["repeat"].lower(), units), count=_count(match["count"], text), units=units)


def _count(number: str | None, text: str) -> int:
    if number is None:
        return 1
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise InputError(
            f"{text!r}: {number!r} is no number of molecules.", "Give a whole number from 1 on, such as :2."
        )
    return int(number)


class Framework:
    """An empty framework measured and made ready to be loaded, as often as one likes.

    Parameters
    ----------
    structure
        Ordered, porous, and at least 9 A wide in every direction.
    name
        What reports call it.

    Raises
    ------
    StructureError
        If it is disordered, too narrow, or has no pore.
    """

    def __init__(self, structure: Structure, name: str) -> None:
        if not structure.is_ordered:
            raise StructureError(f"{name} is disordered.", "Give an ordered framework.")
        self.structure, self.name = structure, name
        narrowest_ang = float(widths_ang(structure.lattice).min())
        if narrowest_ang < 2 * REACH_ANG:  # an atom could touch two images of another
            raise StructureError(
                f"The cell of {name} is only {narrowest_ang:.1f} A wide.",
                f"Give a supercell at least {2 * REACH_ANG:g} A wide in every direction.",
            )
        self.field = DistanceField(structure.lattice)
        self.voids: Voids = analyse(structure)
        self.field.add([site.specie.symbol for site in structure], np.asarray(structure.cart_coords))


def load(
    framework: Framework,
    loads: Sequence[Load],
    *,
    seed: int,
    attempts: int = _ATTEMPTS,
    report_attempt: Report = lambda _: None,
) -> LoadedPore:
    """Load a framework: salt first, each cation next to its anion, then the chains, longest first.

    Each guest is grown by its torsions next to what is there already
    (:mod:`~epilayer.structures.chain_growth`), all are relaxed together in the fixed host
    (:mod:`~epilayer.structures.packing`), and the result is checked
    (:func:`~epilayer.structures.pore_checks.check_pore`). An attempt that does not fit, or is invalid, is
    made again with other random numbers, up to ``attempts`` times, later ones packed more tightly.

    Parameters
    ----------
    framework
        The host.
    loads
        What goes in; the charges add up to zero.
    seed
        The same seed gives the same structure.
    attempts
        How often to try.
    report_attempt
        Called with a line on the outcome of every attempt.

    Raises
    ------
    InputError
        If the guests are not neutral together, or there are none.
    StructureError
        If it does not fit; the error says how much does.
    """
    _refuse(framework, loads)
    host = framework.structure
    guests = {entry.ligand.name: Guest(entry.ligand) for entry in loads}
    listed = [guests[entry.ligand.name] for entry in loads for _ in range(entry.count)]
    search = _Search(loads, listed, framework.name)
    for number, source in enumerate(np.random.SeedSequence(seed).spawn(attempts), start=1):
        scale_factor = _SCALES[(number - 1) * len(_SCALES) // attempts]
        rng = np.random.default_rng(source)
        placed = search.place(framework.field.copy(), rng, scale_factor)
        if placed is None:
            report_attempt(f"attempt {number}: {search.outcome}")
            continue
        relaxed = relax(host, listed, placed)
        structure = _assembled(host, listed, relaxed.coords, framework.name)
        checks = check_pore(structure, host, listed)
        search.outcome = "; ".join(f"{c.name}: {c.found}" for c in checks if not c.holds)
        report_attempt(f"attempt {number}: {search.outcome or 'valid'}")
        if not search.outcome:
            report = PoreReport(
                host=framework.name,
                formula=structure.composition.formula,
                atoms=len(structure),
                host_atoms=len(host),
                charge=sum(g.ligand.charge for g in listed),
                density_g_per_cm3=float(structure.density),
                guests=_guests(len(host), listed),
                contacts=closest_contacts(structure, len(host), listed),
                cations=_cations(structure, len(host), listed, framework.voids),
                voids=framework.voids,
                free_volume_fraction=free_fraction(structure),
                checks=checks,
                valid=True,
                seed=seed,
                attempts=number,
                scale_factor=scale_factor,
                relaxation_steps=relaxed.steps,
                max_force_ev_per_ang=relaxed.max_force_ev_per_ang,
            )
            return LoadedPore(structure=structure, report=report)
    raise search.refusal(attempts)


def _refuse(framework: Framework, loads: Sequence[Load]) -> None:
    """Refuse what the formulas alone show to be wrong."""
    if not loads:
        raise InputError("Nothing is to be loaded.", "Name a salt or a chain, such as NaFSI:2 or pom15:2.")
    charge = sum(entry.ligand.charge * entry.count for entry in loads)
    if charge:
        raise InputError(
            f"The guests carry a total charge of {charge:+d}.", "Load whole salts, cations and anions."
        )
    room_ang3 = framework.voids.free_volume_fraction * framework.structure.volume
    needed_ang3 = sum(_volume_ang3(entry.ligand) * entry.count for entry in loads)
    if needed_ang3 > room_ang3:
        raise StructureError(
            f"The guests fill {needed_ang3:.0f} A^3, but {framework.name} has {room_ang3:.0f} A^3 free.",
            _remedy_by_volume(loads, room_ang3),
        )


def _volume_ang3(ligand: Ligand) -> float:
    counts = ligand.composition
    bonds = sum(counts.values()) - 1
    return sum(_VOLUMES_ANG3.get(e, 0.0) * n for e, n in counts.items()) - _BOND_ANG3 * bonds


def _remedy_by_volume(loads: Sequence[Load], room_ang3: float) -> str:
    chains = [entry for entry in loads if entry.units]
    if not chains:
        share = room_ang3 / sum(_volume_ang3(entry.ligand) * entry.count for entry in loads)
        return f"Load at most {100 * share:.0f} % of it, or a supercell."
    left_ang3 = room_ang3 - sum(_volume_ang3(e.ligand) * e.count for e in loads if not e.units)
    units = sum((e.units or 0) * e.count for e in chains)
    most = int(units * left_ang3 / sum(_volume_ang3(e.ligand) * e.count for e in chains))
    return f"By volume alone at most {most} repeat units fit in all, in practice fewer; or load a supercell."


class _Search:
    """Places the guests of one attempt after another and remembers how far it got."""

    def __init__(self, loads: Sequence[Load], listed: Sequence[Guest], name: str) -> None:
        self.loads, self.listed, self.name = loads, listed, name
        self.kinds = [entry for entry in loads for _ in range(entry.count)]
        self.outcome = ""
        self.most = (0, 0)  # guests placed, atoms of the next one
        self.best: Counter[str] = Counter()
        self.stuck = self.kinds[0]

    def place(
        self, field: DistanceField, rng: np.random.Generator, scale_factor: float
    ) -> list[Floats] | None:
        """Return coordinates of every guest in order, or nothing when one does not fit."""
        placed: dict[int, Floats] = {}
        salt, chains = self._order()
        for index in salt:
            if self.listed[index].symbols[0] in ALKALI:
                found, reached = self._cation(index, placed, field, rng, scale_factor), 0
            else:
                grown = grow([self.listed[index]], field, rng, scale_factor=scale_factor)
                found, reached = grown.coords, grown.placed
            if not len(found):
                self._note([index], placed, reached)
                return None
            placed[index] = found[int(rng.integers(len(found)))]
            field.add(self.listed[index].symbols, placed[index])
        if chains:
            grown = grow([self.listed[i] for i in chains], field, rng, scale_factor=scale_factor)
            if not len(grown.coords):
                self._note(chains, placed, grown.placed)
                return None
            together = grown.coords[int(rng.integers(len(grown.coords)))]
            ends = np.cumsum([len(self.listed[i].symbols) for i in chains])[:-1]
            placed |= dict(zip(chains, np.split(together, ends), strict=True))
        return [placed[index] for index in range(len(self.listed))]

    def _order(self) -> tuple[list[int], list[int]]:
        """Return anions, each followed by its cations, and everything else, largest first."""
        cations = [i for i, g in enumerate(self.listed) if g.symbols[0] in ALKALI]
        anions = [i for i, g in enumerate(self.listed) if g.ligand.charge < 0]
        others = [i for i in range(len(self.listed)) if i not in cations and i not in anions]
        others.sort(key=lambda i: (-len(self.listed[i].symbols), i))
        order: list[int] = []
        for anion in anions:
            owed = -self.listed[anion].ligand.charge
            order += [anion, *cations[:owed]]
            cations = cations[owed:]
        return [*order, *cations], others

    def _cation(
        self,
        index: int,
        placed: Mapping[int, Floats],
        field: DistanceField,
        rng: np.random.Generator,
        scale_factor: float,
    ) -> Floats:
        """Find points that touch a donor of the anion placed last, and nothing else."""
        symbol = self.listed[index].symbols[0]
        last = max(
            (i for i in placed if self.listed[i].ligand.charge < 0), default=None, key=list(placed).index
        )
        if last is None:
            return np.empty((0, 1, 3))
        anion = self.listed[last]
        donors = [k for k, s in enumerate(anion.symbols) if s in ACCEPTORS]
        chosen = rng.choice(donors, size=_CATION_TRIALS) if donors else np.empty(0, dtype=int)
        ways = rng.normal(size=(len(chosen), 3))
        ways /= np.linalg.norm(ways, axis=1)[:, None]
        touch = np.array([contact_limit_ang(symbol, anion.symbols[k]) for k in chosen])
        reach = touch + _CATION_SHELL_ANG * rng.random(len(chosen))
        points = placed[last][chosen] + reach[:, None] * ways
        limits = {x: contact_limit_ang(symbol, x, scale_factor) for x in field.symbols}
        clear = field.sample(field.clearance(limits), points) > 0
        return np.asarray(points[clear][:, None])

    def _note(self, growing: Sequence[int], placed: Mapping[int, Floats], reached: int) -> None:
        done, index = list(placed), growing[0]
        for index in growing:
            size = len(self.listed[index].symbols)
            if reached < size or index == growing[-1]:
                break
            reached -= size
            done.append(index)
        stuck = self.kinds[index]
        total = Counter(entry.ligand.name for entry in self.kinds)
        fitted = Counter(self.kinds[i].ligand.name for i in done)
        name = stuck.ligand.name
        self.outcome = f"{name} {fitted[name] + 1} of {total[name]} does not fit"
        if stuck.units:
            self.outcome += f" beyond {self._units(stuck, reached)} of {stuck.units} units"
        if (len(done), reached) >= self.most:
            self.most, self.best, self.stuck = (len(done), reached), fitted, stuck

    def _units(self, entry: Load, reached: int) -> int:
        return int((entry.units or 0) * reached / sum(entry.ligand.composition.values()))

    def refusal(self, attempts: int) -> StructureError:
        asked = ", ".join(f"{entry.count} {entry.ligand.name}" for entry in self.loads)
        fitted = ", ".join(f"{n} {name}" for name, n in self.best.items()) or "nothing"
        if self.stuck.units:
            units = self._units(self.stuck, self.most[1])
            fitted += f" and {units} of the {self.stuck.units} units of the next {self.stuck.ligand.name}"
        return StructureError(
            f"{asked} do not fit into {self.name} ({attempts} attempts; last: {self.outcome}).",
            f"What did fit: {fitted}. Ask for fewer or shorter guests, another seed, or a supercell.",
        )


def _assembled(host: Structure, guests: Sequence[Guest], coords: Floats, name: str) -> Structure:
    symbols = [site.specie.symbol for site in host] + [s for g in guests for s in g.symbols]
    frac = np.vstack([host.frac_coords, coords @ np.linalg.inv(host.lattice.matrix) % 1.0])
    sizes = [len(host), *(len(g.symbols) for g in guests)]
    names = [name, *(g.ligand.name for g in guests)]
    molecule = np.repeat(np.arange(len(sizes)), sizes).tolist()
    return Structure(
        host.lattice,
        symbols,
        frac,
        site_properties=dict(
            zip(
                SITE_PROPERTIES,
                (["guest" if m else "host" for m in molecule], molecule, [names[m] for m in molecule]),
                strict=True,
            )
        ),
    )


def _guests(host_atoms: int, guests: Sequence[Guest]) -> tuple[GuestReport, ...]:
    starts = np.cumsum([host_atoms, *(len(g.symbols) for g in guests)]).tolist()
    return tuple(
        GuestReport(
            molecule=number,
            name=guest.ligand.name,
            formula=guest.ligand.formula,
            charge=guest.ligand.charge,
            first_atom=start,
            atoms=len(guest.symbols),
        )
        for number, (guest, start) in enumerate(zip(guests, starts, strict=False), start=1)
    )


def _cations(
    structure: Structure, host_atoms: int, guests: Sequence[Guest], voids: Voids
) -> tuple[CationReport, ...]:
    cations = []
    for atom, donors in donors_near(structure, host_atoms, guests).items():
        cavity, from_centre_ang = voids.nearest(structure.lattice, structure.frac_coords[atom])
        cations.append(
            CationReport(
                atom=atom,
                element=structure[atom].specie.symbol,
                molecule=int(structure[atom].properties["molecule"]),
                donors=donors,
                cavity=cavity.label,
                from_centre_ang=from_centre_ang,
            )
        )
    return tuple(cations)
