"""Transport studies as the files in ``workflows/`` name them: a MOF, a salt and chains, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.engines.base import MdEngine
from epilayer.flows.transport import TransportMaker
from epilayer.model.errors import EngineError
from epilayer.structures import crystals, pores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Flow

    from epilayer.flows.base import Inputs
    from epilayer.flows.transport import TransportPlan


def transport_study(
    inputs: Inputs,
    *,
    mof: str,
    salt: str,
    chains: Sequence[str],
    level: str,
    plan: TransportPlan,
    primitive: bool,
    pore_seed: int,
) -> Flow:
    """Load a framework and build the transport study of what is in it.

    Parameters
    ----------
    mof
        Name of the framework.
    salt, chains
        What goes into the pores, such as ``NaFSI:2`` and ``pom15:2``.
    plan
        What is simulated.
    primitive
        Load the primitive cell instead of the conventional one.
    pore_seed
        Of the placing of the guests.

    Raises
    ------
    EngineError
        If the level's engine runs no dynamics in segments.
    """
    engine = inputs.engine(level)
    if not isinstance(engine, MdEngine):
        raise EngineError(
            f"The engine of level {level!r} runs no dynamics in segments.",
            "Choose another level (--level).",
        )
    host = crystals.framework(inputs.mof(mof))
    if primitive:
        host = host.get_primitive_structure()
    ligands = [inputs.ligand(name) for name in inputs.names("ligands")]
    known = {ligand.name: ligand for ligand in ligands if ligand.charge < 0}
    loads = [*pores.parse_salt(salt, known), *map(pores.parse_chain, chains)]
    pore = pores.load(pores.Framework(host, mof), loads, seed=pore_seed)
    charges = {guest.name: float(guest.charge) for guest in pore.report.guests if guest.charge}
    system = " + ".join([mof + (" (primitive cell)" if primitive else ""), salt, *chains])
    return TransportMaker(engine=engine, plan=plan, name=f"transport in {system}").make(
        system, pore.structure, charges
    )
