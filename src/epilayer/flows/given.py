"""Adsorption energies at geometries that are given: single points, nothing searched and nothing relaxed."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from jobflow import Flow, job

from epilayer.analysis.adsorption import ComputedPose, System, certify
from epilayer.analysis.imported_adsorption import slab_first
from epilayer.flows.base import mark
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from epilayer.flows.base import Inputs
    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy, Calculation


def given_adsorption(
    catalogue: Inputs,
    *,
    level: str = "pbe-400+d3",
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
    """
    missing = [
        role
        for role, file in zip(("slab", "molecule", "adsorbed"), (slab, molecule, adsorbed), strict=True)
        if not file
    ]
    if missing:
        raise InputError(
            f"No file is named for {', '.join(missing)}.",
            "Name them: --set slab=S.extxyz --set molecule=M.extxyz --set adsorbed=MS.extxyz,MS2.extxyz",
        )
    engine = catalogue.engine(level, catalogue.cathode(cathode) if cathode else None)
    name = cathode or surface
    clean, free = catalogue.structure(slab), catalogue.structure(molecule)
    free.properties["system"] = "molecule"  # its box may be narrow, and so may the vacuum over a pose
    clean.properties["system"] = "slab"
    title = f"{ligand} on {name} ({facet}), {level}"
    legs = [engine.static(f"slab of {title}").make(clean), engine.static(f"molecule of {title}").make(free)]
    poses = []
    for file in adsorbed:
        start = slab_first(clean, catalogue.structure(file), file)
        start.properties["system"] = "slab"
        poses.append(engine.static(f"{PurePath(file).stem} of {title}").make(start))
    system = System(cathode=name, facet=facet, termination="given", ligand=ligand)
    result = certify_given(system, *(leg.output for leg in legs), [pose.output for pose in poses])
    mark(result, f"certify {title}, as given", "adsorption")
    return Flow([*legs, *poses, result], output=result.output, name=f"{title}, as given")


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
