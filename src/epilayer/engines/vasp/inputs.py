"""From a level of theory and a structure to the four input files of VASP: every tag stated, none inherited.

atomate2's base set is PBEsol with the Materials Project's tags; its generator is used here with a
configuration that holds the level's tags alone, so that nothing comes in unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from epilayer.engines.vasp import md as vasp_md
from epilayer.model.errors import EngineError, SetupError, StructureError
from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atomate2.vasp.sets.base import VaspInputGenerator
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.model.cathode import Cathode
    from epilayer.model.dynamics import DynamicsSettings
    from epilayer.model.gpaw import GpawSettings
    from epilayer.model.level import Convergence
    from epilayer.model.vasp import HubbardTerm, KPoints, Tag, Task, VaspSettings

KIND, MULTIPLICITY = "system", "multiplicity"
"""Structure properties that state what is otherwise read off the geometry."""

_VACUUM_ANG = 8.0
"""A layer without any atom this thick parts a slab or a molecule from its image."""
_PORE_ANG = 15.0
"""A crystal whose shortest lattice vector is this long is taken for a framework with pores."""
_PARALLEL = frozenset({"KPAR", "NCORE", "NPAR", "NSIM", "LPLANE", "LSCALU", "NBLOCK_FOCK", "IMAGES"})


def system_kind(structure: Structure) -> SystemKind:
    """Tell a slab from a molecule in a box and from a crystal, by the vacuum between images.

    A molecule is parted from its images along all three axes, a slab along one. The structure
    property ``system`` overrides the geometry.
    """
    stated = structure.properties.get(KIND)
    if stated is not None:
        return SystemKind(stated)
    gaps = _gaps_ang(structure) >= _VACUUM_ANG
    if gaps.all():
        return SystemKind.MOLECULE
    if gaps.any():
        return SystemKind.SLAB
    return SystemKind.PORE if min(structure.lattice.abc) >= _PORE_ANG else SystemKind.BULK


def vacuum_axis(structure: Structure) -> int:
    """Return the lattice direction (0, 1, 2) of the widest layer without atoms."""
    return int(np.argmax(_gaps_ang(structure)))


def widest_gap_ang(structure: Structure) -> float:
    """Return the widest layer without atoms (A)."""
    return float(_gaps_ang(structure).max())


def multiplicity(structure: Structure) -> int:
    """Return 2S + 1 of a molecule: as stated, else the lowest that its electrons allow."""
    electrons: int = round(sum(site.specie.Z for site in structure) - structure.charge)
    stated = structure.properties.get(MULTIPLICITY)
    lowest = 1 + electrons % 2
    if stated is None:
        return lowest
    if stated < 1 or (int(stated) - lowest) % 2:
        raise StructureError(
            f"{structure.composition.formula}: multiplicity {stated} does not fit {electrons} electrons.",
            f"Correct charge or multiplicity of the ligand (lowest possible: {lowest}).",
        )
    return int(stated)


def generator(
    settings: VaspSettings,
    hubbard_u_ev: Mapping[str, float],
    structure: Structure,
    task: Task,
    convergence: Convergence,
    dynamics: DynamicsSettings | None = None,
    bands: int | None = None,
    user_incar: Mapping[str, Any] | None = None,
) -> VaspInputGenerator:
    """Return atomate2's input set generator for one calculation.

    Parameters
    ----------
    hubbard_u_ev
        U by element (eV), as resolved by the engine.
    structure
        In file order, with its :func:`start_moments` as the site property ``magmom``.
    bands
        Number of bands; VASP's own choice where it is not given.
    user_incar
        Tags that a user forces on top, e.g. through atomate2's powerups.

    Raises
    ------
    EngineError
        If an element has no pseudopotential in the level.
    """
    import warnings

    from atomate2.vasp.sets.base import VaspInputGenerator
    from pymatgen.io.vasp.inputs import Kpoints

    elements = [e.symbol for e in structure.composition.elements]
    missing = sorted(e for e in elements if e not in settings.potcars)
    if missing:
        raise SetupError(
            f"The level names no pseudopotential for {', '.join(missing)}.",
            f"Add vasp.potcars.{missing[0]} to the level's YAML.",
        )
    kind = system_kind(structure)
    config = {
        "INCAR": incar(settings, hubbard_u_ev, structure, task, convergence, dynamics, bands),
        "KPOINTS": {},
        "POTCAR": {e: settings.potcars[e] for e in elements},
        "POTCAR_FUNCTIONAL": settings.potcar_functional,
    }
    mesh = settings.systems[kind].k_points.mesh(structure.lattice.abc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VaspInputGenerator(
            config_dict=config,
            user_incar_settings=dict(user_incar or {}),
            user_kpoints_settings=Kpoints.gamma_automatic(mesh),
            use_structure_charge=bool(structure.charge),
            sort_structure=False,
            validate_magmom=False,
            inherit_incar=False,
            auto_ismear=False,
            auto_ispin=False,
            auto_lreal=False,
        )


def incar(
    settings: VaspSettings,
    hubbard_u_ev: Mapping[str, float],
    structure: Structure,
    task: Task,
    convergence: Convergence,
    dynamics: DynamicsSettings | None = None,
    bands: int | None = None,
) -> dict[str, Any]:
    """Return every INCAR tag of a calculation; ``structure`` in file order."""
    kind = system_kind(structure)
    tags: dict[str, Any] = {
        **settings.incar,
        **settings.systems[kind].incar,
        **_task_tags(task, convergence, dynamics, bands, [e.symbol for e in structure.composition.elements]),
        **settings.tasks.get(task, {}),
    }
    if tags.get("LDIPOL"):
        tags["DIPOL"] = [round(float(x), 4) for x in centre(structure)]
    if tags.get("ISPIN") == 2:  # noqa: PLR2004  (spin-polarised)
        tags["MAGMOM"] = {}  # pymatgen takes them from the sites, see start_moments
        if kind is SystemKind.MOLECULE:
            tags["NUPDOWN"] = multiplicity(structure) - 1
    tags |= _hubbard(hubbard_u_ev, structure)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in sorted(tags.items()) if v is not None}


def declared(
    kind: SystemKind, rule: KPoints, structure: Structure, tags: Mapping[str, Tag]
) -> dict[str, Any]:
    """Return what the level asks of this kind of system, in the words of ``LevelOfTheory.system``."""
    mesh = rule.mesh(structure.lattice.abc)
    return {
        "k_mesh": mesh_label(mesh, "Gamma"),
        "dipole": dipole_label(bool(tags.get("LDIPOL")), tags.get("IDIPOL")),
        "charge_e": float(structure.charge),
        "ediff_ev": tags.get("EDIFF"),
        "system": kind.value,
    }


def mesh_label(mesh: tuple[int, int, int] | None, centring: str | None) -> str | None:
    """Write a mesh as ``2x2x1 Gamma``; one point is Gamma however it was generated."""
    if mesh is None:
        return None
    return f"{'x'.join(map(str, mesh))} {'Gamma' if mesh == (1, 1, 1) else centring}"


def dipole_label(on: bool, axis: Any) -> str:  # noqa: ANN401  (any INCAR value)
    """Write a dipole correction in words."""
    return f"along {axis}" if on else "none"


def parallel_updates() -> dict[str, Any]:
    """Return KPAR, NCORE and the like from atomate2's settings; refuse tags that would change the level.

    The cluster's preamble sets them (``ATOMATE2_VASP_INCAR_UPDATES='{"KPAR": 2, "NCORE": 8}'``): how a
    calculation is spread over nodes is no part of what is computed.
    """
    from atomate2 import SETTINGS

    updates = dict(SETTINGS.VASP_INCAR_UPDATES)
    foreign = sorted(set(updates) - _PARALLEL)
    if foreign:
        raise SetupError(
            f"VASP_INCAR_UPDATES sets {', '.join(foreign)}, which would change every level of theory.",
            "Leave only KPAR, NCORE, NPAR, NSIM there; put the rest into a level of your own.",
        )
    return updates


def _task_tags(
    task: Task,
    convergence: Convergence,
    dynamics: DynamicsSettings | None,
    bands: int | None = None,
    elements: Sequence[str] = (),
) -> dict[str, Any]:
    if task == "static":
        return {"NSW": 0, "IBRION": -1}
    if task == "bonding":
        # LOBSTER projects the orbitals in WAVECAR, over the whole Brillouin zone, onto as many functions.
        return {"NSW": 0, "IBRION": -1, "ISYM": 0, "LWAVE": True, "NBANDS": bands}
    if task == "relax":
        return {
            "NSW": convergence.max_steps,
            "IBRION": 2,
            "ISIF": 2,
            "EDIFFG": -convergence.max_force_ev_per_ang,
        }
    if dynamics is None:
        raise EngineError("A dynamics run was asked for without its settings.", "Give temperature and steps.")
    return vasp_md.tags(dynamics, elements, steps=dynamics.steps, seed=dynamics.seed)


def resolved_u_ev(
    hubbard: Literal["none", "cathode"] | Mapping[str, HubbardTerm], cathode: Cathode | None
) -> dict[str, float]:
    """Return U by element (eV): the level's own values, or the cathode's where the level leaves it to it."""
    if isinstance(hubbard, str):
        own = cathode.hubbard_u if hubbard == "cathode" and cathode is not None else {}
        return {element: term.u_ev for element, term in own.items()}
    return {element: term.u_ev for element, term in hubbard.items()}


def moments_by_element(cathode: Cathode | None) -> dict[str, float]:
    """Start moments by species and, through the cathode's oxidation states, by bare element (mu_B)."""
    if cathode is None:
        return {}
    moments = dict(cathode.moments)
    for element, charge in cathode.oxidation_states.items():
        species = f"{element}{abs(charge):g}{'+' if charge > 0 else '-'}"
        if species in cathode.moments:
            moments[element] = cathode.moments[species]
    return moments


def start_moments(
    settings: VaspSettings | GpawSettings, moments: Mapping[str, float], structure: Structure
) -> list[float]:
    """Return the start moments (mu_B) per atom: the site's own, its species', its element's, the default."""
    if system_kind(structure) is SystemKind.MOLECULE:
        return _molecule_moments(structure)
    known = {**settings.moments, **moments}
    out = []
    for site in structure:
        own = site.properties.get("magmom")
        name, element = site.species_string, site.specie.symbol
        out.append(
            float(
                own if own is not None else known.get(name, known.get(element, settings.default_moment_mu_b))
            )
        )
    if settings.magnetic_order == "antiferro":
        for turn, place in enumerate([i for i, moment in enumerate(out) if moment]):
            out[place] *= (-1) ** turn
    return out


def _molecule_moments(structure: Structure) -> list[float]:
    """Spread the molecule's unpaired electrons over its heavy atoms; none for a closed shell."""
    unpaired = multiplicity(structure) - 1
    heavy = [i for i, site in enumerate(structure) if site.specie.symbol != "H"] or [0]
    share = round(unpaired / len(heavy), 3)
    return [share if i in heavy else 0.0 for i in range(len(structure))]


def _hubbard(u_ev: Mapping[str, float], structure: Structure) -> dict[str, Any]:
    """LDAU tags by element, which pymatgen sorts into POSCAR order; ``LDAU = .FALSE.`` where none applies."""
    elements = {e.symbol: e for e in structure.composition.elements}
    used = {e: u for e, u in u_ev.items() if e in elements and u > 0}
    if not used:
        return {}
    shells = {e: {"s": 0, "p": 1, "d": 2, "f": 3}[elements[e].block] for e in used}
    return {
        "LDAU": True,
        "LDAUTYPE": 2,
        "LDAUL": {e: shells.get(e, -1) for e in elements},
        "LDAUU": dict(used),
        "LDAUJ": dict.fromkeys(used, 0.0),
        "LDAUPRINT": 1,
    }


def centre(structure: Structure) -> NDArray[Any]:
    """Middle of the material in fractional coordinates: half way round from the middle of each gap.

    Rounded, so that of gaps that symmetry makes equal it is the first on every machine.
    """
    frac = np.round(structure.frac_coords, 6) % 1.0
    centre = []
    for axis in range(3):
        ordered = np.sort(frac[:, axis])
        gaps = np.round(np.diff(np.append(ordered, ordered[0] + 1.0)), 5)
        k = int(gaps.argmax())
        centre.append((ordered[k] + gaps[k] / 2 + 0.5) % 1.0)
    return np.array(centre)


def _gaps_ang(structure: Structure) -> NDArray[Any]:
    """Widest layer without atoms along each lattice direction (A), shape (3,), across faces too."""
    frac = np.sort(structure.frac_coords % 1.0, axis=0)
    widest = np.diff(np.vstack([frac, frac[:1] + 1.0]), axis=0).max(axis=0)
    heights = 1.0 / np.linalg.norm(structure.lattice.inv_matrix, axis=0)
    gaps: NDArray[Any] = widest * heights
    return gaps
