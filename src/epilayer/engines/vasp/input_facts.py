"""What the inputs of VASP and LOBSTER say, prepared or executed, as facts that an audit can judge."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.engines.lobster import engine as lobster
from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.engines.vasp.executed import shared_tags
from epilayer.model.audit import Difference, InputFacts
from epilayer.model.dynamics import DynamicsSettings
from epilayer.model.errors import EngineError, InputError
from epilayer.model.imported import Code, ExecutedLevel, Potcar
from epilayer.model.vasp import SystemKind
from epilayer.outputs.discover import FoundFiles, Role, find_calculations
from epilayer.outputs.vasp import settings as st
from epilayer.outputs.vasp.assess import import_vasp
from epilayer.outputs.vasp.poscar import elements_beside, read_header, read_poscar
from epilayer.outputs.vasp.run_files import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Literal

    from pymatgen.core import Structure

    from epilayer.model.imported import Setting
    from epilayer.model.level import Level

    Task = Literal["static", "relax", "md", "response", "unknown"]

_SAME_PLACE_ANG = 0.35
"""Atoms of the two faces of one slab, unrelaxed or relaxed, mirror each other to within this."""
_MOLECULAR_DYNAMICS, _RESPONSE = 0, (5, 6, 7, 8)
_STEPS_OF_MD = 1
_NO_LEVEL = ExecutedLevel(
    functional=None, encut_ev=None, precision=None, ediff_ev=None, smearing=None, sigma_ev=None, spin=None,
    aspherical=None, real_space_projection=None, dispersion=None,
)  # fmt: skip


def read_inputs(
    place: Path,
    level_of: Callable[[Path], Level | None],
    hubbard_u_ev: Mapping[str, tuple[float, ...]] | None = None,
) -> list[InputFacts]:
    """Return the facts of every calculation under a directory, or of the one that a file belongs to.

    Parameters
    ----------
    level_of
        The VASP level to compare the calculation in a folder with, if any.
    hubbard_u_ev
        The values (eV) that a level means by the cathode's own U, by element.
    """
    return [_facts(files, level_of(files.folder), hubbard_u_ev or {}) for files in _calculations(place)]


def _calculations(place: Path) -> Iterator[FoundFiles]:
    if place.is_file():
        # A lone INCAR, KPOINTS or POSCAR speaks with the files beside it.
        beside = [f for f in find_calculations(place.parent) if f.folder == place.parent]
        named = [f for f in beside if place in [p for paths in f.by_role.values() for p in paths]]
        if named:
            yield named[0]
            return
        files = FoundFiles(place.parent, "", Code.VASP)
        if place.name.upper().startswith("INCAR"):
            files.by_role[Role.INCAR] = [place]
        yield files
        return
    found = [f for f in find_calculations(place) if f.code is Code.VASP]
    yield from found
    known = {f.folder for f in found}
    outputs = {f.folder.parent for f in found}
    for folder, folders, names in os.walk(place):
        folders.sort()
        here = Path(folder)
        incar = next((n for n in ("INCAR", "INCAR.gz") if n in names), None)
        if (
            incar is None
            or here in known
            or (here.name.lower() in ("input", "inputs") and here.parent in outputs)
        ):
            continue
        files = FoundFiles(here, "", Code.VASP, {Role.INCAR: [here / incar]})
        for role, name in ((Role.KPOINTS, "KPOINTS"), (Role.POTCAR_SPEC, "POTCAR.spec")):
            if name in names:
                files.by_role[role] = [here / name]
        yield files


def _facts(
    files: FoundFiles, level: Level | None, allowed_u_ev: Mapping[str, tuple[float, ...]]
) -> InputFacts:
    unreadable: list[str] = []
    if files.has_outputs:
        record = import_vasp(files)
        incar, executed = dict(record.incar), record.level
        structure = record.structure() or _structure(files, unreadable)
        if executed is None or not incar:
            unreadable.append(f"{files.folder.name}: its outputs state no settings")
            executed = executed or _NO_LEVEL
    else:
        text = text_of(files.one(Role.INCAR))
        incar = st.parse_incar(text)
        if not incar:
            unreadable.append("INCAR: it holds no setting")
        structure = _structure(files, unreadable)
        if structure is not None and (problem := st.moments_problem(incar, len(structure))):
            unreadable.append(f"INCAR: {problem}")
        done = st.executed(None, None, text or None)
        mesh = st.kpoints_mesh(text_of(files.one(Role.KPOINTS)))
        executed = st.level(done, None, None, _potcars(files, structure), mesh)
    return _judged(files, incar, executed, structure, level, allowed_u_ev, unreadable)


def _judged(
    files: FoundFiles,
    incar: dict[str, Setting],
    executed: ExecutedLevel,
    structure: Structure | None,
    level: Level | None,
    allowed_u_ev: Mapping[str, tuple[float, ...]],
    unreadable: list[str],
) -> InputFacts:
    kind = vasp_inputs.system_kind(structure) if structure else None
    mesh = executed.k_mesh or _by_spacing(incar, structure)
    task = _task(incar)
    dipole = executed.dipole_correction
    hubbard = {u.element: u.u_ev for u in executed.hubbard} if "hubbard" not in executed.unknown else None
    values: dict[str, Any] = {
        "where": str(files.folder) + (f" ({files.label})" if files.label else ""),
        "task": task,
        "system": kind,
        "atoms": dict(Counter(site.specie.symbol for site in structure)) if structure else {},
        "functional": executed.functional,
        "cutoff_ev": executed.encut_ev,
        "spin_polarised": None if not incar else executed.spin not in (None, "none"),
        "hubbard_u_ev": hubbard,
        "dispersion": executed.dispersion,
        "dipole_axis": _integer(incar, "IDIPOL"),
        "dipole_correction": dipole is not None and dipole.startswith("along"),
        "k_mesh": mesh,
        "charge_e": executed.charge_e,
        "electrons_forced": "NELECT" in incar,
        "bands": _integer(incar, "NBANDS"),
        "unreadable": tuple(unreadable),
        "frozen": _frozen(structure),
    }
    if structure is not None:
        if mesh is not None:
            values["k_lengths_ang"] = tuple(n * a for n, a in zip(mesh, structure.lattice.abc, strict=True))
        if kind is SystemKind.SLAB:
            values |= _slab_facts(structure)
        values |= _bonding_facts(files, incar, structure, executed.potcars)
    if task == "md":
        values |= {"time_step_fs": _number(incar, "POTIM"), "steps": _integer(incar, "NSW"),
                   "thermostat": thermostat(incar)}  # fmt: skip
    if level is not None and level.vasp is not None:
        values["level"] = level.name
        values["level_leaves_out"] = tuple(_left_out(level, structure, mesh))
        if structure is not None:
            values["differences"] = tuple(
                _differences(level, structure, incar, executed, mesh, hubbard, task, allowed_u_ev)
            )
    return InputFacts.model_validate(values)


def _slab_facts(structure: Structure) -> dict[str, Any]:
    axis = vasp_inputs.vacuum_axis(structure)
    return {
        "vacuum_axis": axis + 1,
        "vacuum_ang": vasp_inputs.widest_gap_ang(structure),
        "one_sided": one_sided(structure, axis),
    }


def _bonding_facts(
    files: FoundFiles, incar: Mapping[str, Setting], structure: Structure, potcars: Sequence[Potcar]
) -> dict[str, Any]:
    """Return the settings of LOBSTER, if there is a lobsterin."""
    beside = (files.folder / name for name in ("lobsterin", "lobsterin.gz"))
    lobsterin = next((path for path in beside if path.is_file()), None)
    if lobsterin is None:
        return {}
    given, datasets = basis_given(text_of(lobsterin)), _datasets(potcars)
    facts: dict[str, Any] = {
        "bands_needed": bands_needed(given, structure, datasets),
        "lobster_problems": tuple(_lobster_problems(incar)),
    }
    if files.has_outputs or {Role.POTCAR, Role.POTCAR_SPEC} & set(files.by_role):  # else they are a guess
        facts["basis_gaps"], facts["basis_excess"] = basis_faults(given, datasets)
    return facts


def one_sided(structure: Structure, axis: int) -> bool:
    """Whether the two faces of a slab differ, as with a molecule on one of them."""
    frac = structure.frac_coords[:, axis] % 1.0
    ordered = np.sort(frac)
    gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
    start = ordered[(int(gaps.argmax()) + 1) % len(ordered)]
    heights = ((frac - start + 1e-9) % 1.0) / float(np.linalg.norm(structure.lattice.inv_matrix[:, axis]))
    middle = (heights.min() + heights.max()) / 2
    symbols = np.array([site.specie.symbol for site in structure])
    for element in set(symbols):
        up = np.sort(heights[symbols == element] - middle)
        if np.abs(up + up[::-1]).max() > _SAME_PLACE_ANG:
            return True
    return False


def thermostat(incar: Mapping[str, Setting]) -> str | None:
    """Return the thermostat of a dynamics run as VASP understands its tags; ``None`` where none acts."""
    algorithm, mass = _integer(incar, "MDALGO"), _number(incar, "SMASS")
    if algorithm in (None, 0):
        if mass is None:
            return None
        return (
            "Nose-Hoover" if mass >= 0 else {-1.0: "velocity rescaling", -3.0: "NVE"}.get(mass, "none named")
        )
    named: dict[int, tuple[str, str | None]] = {
        1: ("Andersen", "ANDERSEN_PROB"), 2: ("Nose-Hoover", None), 3: ("Langevin", "LANGEVIN_GAMMA"),
        4: ("Nose-Hoover chains", None), 5: ("CSVR", None),
    }  # fmt: skip
    name, needs = named.get(algorithm or 0, ("none named", None))
    # Without its strength the first acts on nothing, the second is NVE.
    return None if needs is not None and not incar.get(needs) else name


def basis_given(lobsterin: str) -> dict[str, list[str]]:
    """Return the functions that a lobsterin names, by element."""
    lines = re.finditer(r"(?im)^\s*basisfunctions\s+([A-Z][a-z]?)\s+(.+)$", lobsterin)
    return {line[1]: line[2].split() for line in lines}


def bands_needed(
    given: Mapping[str, list[str]], structure: Structure, datasets: Mapping[str, str]
) -> int | None:
    """Return the number of basis functions that LOBSTER will project on: it needs as many bands.

    Parameters
    ----------
    given
        Functions by element; other elements take LOBSTER's standard basis for their dataset.
    datasets
        Symbol of the POTCAR by element, such as ``Na_pv``.
    """
    elements = list(dict.fromkeys(site.specie.symbol for site in structure))
    try:
        basis = {e: given.get(e) or lobster.basis_of(datasets, [e])[e] for e in elements}
        return lobster.count_functions(basis, structure)
    except (EngineError, KeyError):  # a dataset or a shell that LOBSTER does not know
        return None


def basis_faults(
    given: Mapping[str, list[str]], datasets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by dataset the valence states without a function, and the functions without a state."""
    found = {potcar: lobster.uncovered(potcar, given[e]) for e, potcar in datasets.items() if e in given}
    gaps = {potcar: " ".join(without) for potcar, (without, _) in found.items() if without}
    excess = {potcar: " ".join(beyond) for potcar, (_, beyond) in found.items() if beyond}
    return gaps, excess


def _datasets(potcars: Sequence[Potcar]) -> dict[str, str]:
    """Return symbols such as ``Na_pv`` by element, from names or TITEL lines."""
    symbols = [potcar.titel.removeprefix("PAW_PBE ").split()[0] for potcar in potcars if potcar.titel.strip()]
    return {symbol.split("_")[0]: symbol for symbol in symbols}


def _lobster_problems(incar: Mapping[str, Setting]) -> Iterator[str]:
    if incar.get("LWAVE") is False:
        yield "LWAVE = .FALSE.: LOBSTER finds no WAVECAR"
    if incar.get("ISYM") not in (-1, 0):
        yield f"ISYM = {incar.get('ISYM', 'not stated')}: LOBSTER needs every k-point (-1 or 0)"


def _task(incar: Mapping[str, Setting]) -> Task:
    mode, steps = _integer(incar, "IBRION"), _integer(incar, "NSW") or 0
    if mode == _MOLECULAR_DYNAMICS and steps >= _STEPS_OF_MD:
        return "md"
    if mode in _RESPONSE:
        return "response"
    return "relax" if steps > 0 and mode != -1 else "static"


def _structure(files: FoundFiles, unreadable: list[str]) -> Structure | None:
    path = files.one(Role.POSCAR)
    if path is None:
        return None
    text = text_of(path)
    try:
        named = read_header(text.splitlines(), path.name).elements
        return read_poscar(text, path.name, () if named else elements_beside(path))
    except InputError as error:
        unreadable.append(error.what)
        return None


def _potcars(files: FoundFiles, structure: Structure | None) -> tuple[Potcar, ...]:
    hashed = st.potcar_hashes(files.one(Role.POTCAR))
    if hashed:
        return hashed
    names = [line.strip() for line in text_of(files.one(Role.POTCAR_SPEC)).splitlines() if line.strip()]
    names = [name for name in names if re.fullmatch(r"\w+", name)]
    if not names and structure is not None:  # the order of the LDAU lists all the same
        names = list(dict.fromkeys(site.specie.symbol for site in structure))
    return tuple(Potcar(element=name.split("_")[0], titel=name) for name in names)


def _by_spacing(incar: Mapping[str, Setting], structure: Structure | None) -> tuple[int, int, int] | None:
    spacing = _number(incar, "KSPACING")
    if structure is None or not spacing or spacing <= 0:
        return None
    i, j, k = (max(1, math.ceil(length / spacing)) for length in structure.lattice.reciprocal_lattice.abc)
    return i, j, k


def _frozen(structure: Structure | None) -> tuple[str, ...]:
    mask = structure.site_properties.get("selective_dynamics") if structure else None
    if structure is None or mask is None:
        return ()
    free = {
        site.specie.symbol for site, flags in zip(structure, mask, strict=True) if flags is None or any(flags)
    }
    return tuple(sorted({site.specie.symbol for site in structure} - free))


def _left_out(level: Level, structure: Structure | None, mesh: tuple[int, int, int] | None) -> Iterator[str]:
    """Yield what a level leaves out by choice, and ``k_mesh`` where the mesh is its own."""
    settings = level.vasp
    if settings is None:
        return
    if settings.hubbard == "none":
        yield "hubbard"
    if not settings.incar.get("IVDW"):
        yield "dispersion"
    system = settings.systems[vasp_inputs.system_kind(structure)] if structure else None
    if not {**settings.incar, **(system.incar if system else {})}.get("LDIPOL"):
        yield "dipole"
    if structure and system and mesh == system.k_points.mesh(structure.lattice.abc):
        yield "k_mesh"


def _differences(
    level: Level,
    structure: Structure,
    incar: Mapping[str, Setting],
    executed: ExecutedLevel,
    mesh: tuple[int, int, int] | None,
    hubbard: Mapping[str, float] | None,
    task: Task,
    allowed_u_ev: Mapping[str, tuple[float, ...]],
) -> Iterator[Difference]:
    settings = level.vasp
    if settings is None:
        return
    asked = task if task in ("static", "relax", "md") else "static"
    tags = vasp_inputs.incar(settings, {}, structure, asked, level.convergence, DynamicsSettings())
    wanted = {name: tuple(v) if isinstance(v, list) else v for name, v in tags.items()}
    functional = st.level(st.executed(None, None, _as_text(wanted)), None, None, (), (None, None)).functional
    if executed.functional != functional:
        yield Difference(setting="functional", found=str(executed.functional), wanted=str(functional))
    cutoff = settings.incar["ENCUT"]
    if executed.encut_ev is None or not math.isclose(executed.encut_ev, float(cutoff), abs_tol=0.1):  # type: ignore[arg-type]  # a number
        yield Difference(setting="cutoff", found=f"{executed.encut_ev} eV", wanted=f"{cutoff} eV")
    ours, theirs = shared_tags(wanted, _NO_LEVEL), shared_tags(incar, _NO_LEVEL)
    for name in sorted((set(ours) | set(theirs)) - {"ENCUT", "ENMAX", "ENAUG", "LMIXTAU"}):
        if ours.get(name) != theirs.get(name):
            yield Difference(setting=name, found=str(theirs.get(name)), wanted=str(ours.get(name)))
    kind = vasp_inputs.system_kind(structure)
    rule = settings.systems[kind].k_points.mesh(structure.lattice.abc)
    if mesh is not None and mesh != rule:
        yield Difference(setting="k-point mesh", found=_shown(mesh), wanted=_shown(rule))
    yield from _loose(incar, wanted, task)
    yield from _other_u(level, structure, hubbard or {}, allowed_u_ev)
    wanted_dipole = vasp_inputs.dipole_label(bool(wanted.get("LDIPOL")), wanted.get("IDIPOL"))
    if (executed.dipole_correction or "none") != wanted_dipole:
        yield Difference(
            setting="dipole correction", found=str(executed.dipole_correction), wanted=wanted_dipole
        )


def _other_u(
    level: Level,
    structure: Structure,
    found_u_ev: Mapping[str, float],
    cathodes_u_ev: Mapping[str, tuple[float, ...]],
) -> Iterator[Difference]:
    rule = level.vasp.hubbard if level.vasp else "none"
    allowed: Mapping[str, tuple[float, ...]] = {}
    if rule == "cathode":
        allowed = cathodes_u_ev
    elif not isinstance(rule, str):
        allowed = {element: (term.u_ev,) for element, term in rule.items()}
    for element in sorted({site.specie.symbol for site in structure}):
        found, wanted = found_u_ev.get(element, 0.0), allowed.get(element, (0.0,))
        if not any(math.isclose(found, u, abs_tol=1e-6) for u in wanted):
            named = " or ".join(f"{u:g} eV" for u in wanted)
            yield Difference(setting=f"U of {element}", found=f"{found:g} eV", wanted=named)


def _loose(incar: Mapping[str, Setting], wanted: Mapping[str, Any], task: Task) -> Iterator[Difference]:
    """Return convergence criteria that are looser than the level's."""
    ediff = _number(incar, "EDIFF")
    if ediff is None or ediff > float(wanted["EDIFF"]) * (1 + 1e-6):
        yield Difference(setting="EDIFF", found=str(ediff or "not stated"), wanted=str(wanted["EDIFF"]))
    if task == "relax":
        force, limit = _number(incar, "EDIFFG"), float(wanted["EDIFFG"])
        if force is None or force >= 0 or abs(force) > abs(limit) * (1 + 1e-6):
            shown = "not stated" if force is None else f"{force:g}"
            yield Difference(setting="force criterion", found=shown, wanted=f"{limit:g}")


def _as_text(tags: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name} = {value}" for name, value in tags.items() if not isinstance(value, tuple | dict)
    )


def _shown(mesh: tuple[int, int, int]) -> str:
    return "x".join(map(str, mesh))


def _integer(incar: Mapping[str, Setting], name: str) -> int | None:
    value = incar.get(name)
    if isinstance(value, float) and value == int(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(incar: Mapping[str, Setting], name: str) -> float | None:
    value = incar.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
