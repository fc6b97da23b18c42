"""Adsorption energies at geometries that are given: single points, nothing searched and nothing relaxed."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from jobflow import Flow, job

from epilayer.analysis.adsorption import ComputedPose, System, certify
from epilayer.analysis.imported_adsorption import slab_first
from epilayer.flows.base import mark
from epilayer.flows.sensitivity import judge_sensitivity
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobflow import Job
    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.flows.base import Inputs
    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy, Calculation


class _Geometries(NamedTuple):
    slab: Structure
    molecule: Structure
    poses: dict[str, Structure]


def given_adsorption(
    catalogue: Inputs,
    *,
    level: str = "pbe-400+d3",
    converge: tuple[str, ...] = (),
    cathode: str = "",
    surface: str = "given",
    facet: str = "given",
    ligand: str = "given",
    slab: str = "",
    molecule: str = "",
    adsorbed: tuple[str, ...] = (),
) -> Flow:
    """Build single points of a slab, a molecule and one or more poses, and the energy between them.

    Parameters
    ----------
    converge
        Choices of the level to change one at a time, ``cutoff`` or ``k-mesh``: the level of each is named by
        the level's ``variations``. How far each moves the energy becomes a record ``sensitivity``.
    cathode
        One of the catalogue, whose U values and start moments the engine needs; the record is of it.
    surface, facet, ligand
        What slab and molecule are called in the record; ``surface`` where no cathode is named.
    slab, molecule, adsorbed
        Files of the structures.

    Raises
    ------
    InputError
        If a file is not named or cannot be read, or a pose lacks atoms of the slab.
    UnknownNameError
        If the level names no variation for a choice.
    """
    geometries = _read(catalogue, slab, molecule, adsorbed)
    material = catalogue.cathode(cathode) if cathode else None
    engine = catalogue.engine(level, material)
    system = System(cathode=cathode or surface, facet=facet, termination="given", ligand=ligand)
    variations = _variations(engine, converge)
    jobs: list[Job] = []
    records = []
    for name in (level, *variations.values()):
        made = _adsorption(catalogue.engine(name, material), system, geometries)
        jobs += made
        records.append(made[-1].output)
    if variations:
        found = judge_sensitivity(records, ligand, facet, level, variations, None, {})
        jobs.append(mark(found, f"convergence of {_title(system, level)}", "sensitivity"))
    return Flow(jobs, output=records[0], name=f"{_title(system, level)}, as given")


def _read(catalogue: Inputs, slab: str, molecule: str, adsorbed: Sequence[str]) -> _Geometries:
    """Read the files; what is a slab is said, since a pose in a low cell leaves little vacuum."""
    files = {"slab": slab, "molecule": molecule, "adsorbed": adsorbed}
    missing = [role for role, file in files.items() if not file]
    if missing:
        raise InputError(
            f"No file is named for {', '.join(missing)}.",
            "Name them: --set slab=S.extxyz --set molecule=M.extxyz --set adsorbed=MS.extxyz,MS2.extxyz",
        )
    clean, free = catalogue.structure(slab), catalogue.structure(molecule)
    poses = {PurePath(file).stem: slab_first(clean, catalogue.structure(file), file) for file in adsorbed}
    free.properties["system"] = "molecule"
    for structure in (clean, *poses.values()):
        structure.properties["system"] = "slab"
    return _Geometries(clean, free, poses)


def _variations(engine: Engine, choices: Sequence[str]) -> dict[str, str]:
    known: Mapping[str, str] = engine.level.variations
    for choice in choices:
        if choice not in known:
            raise UnknownNameError(f"variation of the level {engine.level.name!r}", choice, known)
    return {choice: known[choice] for choice in choices}


def _title(system: System, level: str) -> str:
    return f"{system.ligand} on {system.cathode} ({system.facet}), {level}"


def _adsorption(engine: Engine, system: System, geometries: _Geometries) -> list[Job]:
    title = _title(system, engine.level.name)
    legs = [
        engine.static(f"slab of {title}").make(geometries.slab),
        engine.static(f"molecule of {title}").make(geometries.molecule),
    ]
    poses = [engine.static(f"{name} of {title}").make(pose) for name, pose in geometries.poses.items()]
    result = certify_given(system, *(leg.output for leg in legs), [pose.output for pose in poses])
    return [*legs, *poses, mark(result, f"certify {title}, as given", "adsorption")]


@job  # type: ignore[untyped-decorator]
def certify_given(
    system: System, slab: Calculation, molecule: Calculation, poses: list[Calculation]
) -> AdsorptionEnergy:
    """Certify or refuse the energy between slab and molecule at fixed geometries.

    Forces decide nothing here: the geometries are the question. The largest one is kept with the number.
    """
    slab, molecule, *poses = (
        leg.model_copy(update={"ionic_converged": True}) for leg in (slab, molecule, *poses)
    )
    computed = [
        ComputedPose(label=pose.label, anchor="", site="", start=pose.structure, calculation=pose)
        for pose in poses
    ]
    largest = max(leg.max_force_ev_per_ang for leg in (slab, molecule, *poses))
    parameters: dict[str, Scalar] = {
        "geometries": "as given, not relaxed",
        "largest_force_ev_per_ang": largest,
    }
    return certify(system, slab, molecule, computed, parameters=parameters)
