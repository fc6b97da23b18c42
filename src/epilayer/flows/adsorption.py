"""Adsorption of ligands on the facets of a cathode, with any engine.

The legs (one clean slab a facet, one molecule a ligand) are computed once and shared. For each
pair, poses are placed on the *relaxed* slab in batches, pre-relaxed on the held slab and
de-duplicated until no lower one comes (:mod:`epilayer.flows.search`), and the best few relaxed in
full; the lowest valid one is the minimum. Further engines start from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, Response, job
from monty.json import MSONable
from pymatgen.core import Molecule

from epilayer.analysis.adsorption import (
    ComputedPose,
    System,
    certify,
    lowest_slab,
    rebuilt_by_molecule,
    rebuilt_pose,
    refer_to_lowest_slab,
)
from epilayer.analysis.anomalies import find_anomalies
from epilayer.analysis.certainty import judged
from epilayer.analysis.competition import competing_adsorption
from epilayer.analysis.growth import growth_verdict
from epilayer.flows.base import each_once, mark
from epilayer.flows.search import PlacedPose, PoseSearch, decide, distinct, interleaved, may_be_lower
from epilayer.model.benchmark import Standard
from epilayer.model.cathode import miller_index
from epilayer.model.errors import InputError, StructureError
from epilayer.model.level import Convergence, Scalar
from epilayer.structures import charging, molecules, slabs, surfaces
from epilayer.structures import poses as pose_builder
from epilayer.structures.comparison import PoseComparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.model.benchmark import ModelError
    from epilayer.model.cathode import Cathode
    from epilayer.model.ligand import Ligand
    from epilayer.model.records import (
        AdsorptionEnergy,
        Calculation,
        CompetingAdsorption,
        GrowthVerdict,
        SearchConfidence,
    )
    from epilayer.model.units import Ev


@dataclass(frozen=True)
class FacetSlab(MSONable):  # type: ignore[misc]  # monty is untyped
    """A clean slab ready to be relaxed: bottom held, and the names it goes by."""

    facet: str
    termination: str
    structure: Structure


def facet_slab(
    cathode: Cathode, facet: str, state: str | None = None, termination: str | None = None
) -> FacetSlab:
    """Cut a facet by the cathode's rules and hold its bottom, ready for one-sided adsorption.

    Parameters
    ----------
    facet
        Miller index as it is written without brackets, such as ``001`` or ``1-10``.
    termination
        Label of an admissible one; unset takes the one of lowest recorded surface energy.
    state
        One of ``cathode.states``, such as ``"charged"``: the slab is cut discharged, and mobile ions
        leave it alike on both faces. Unset keeps the composition as cut.
    """
    rules = cathode.facet(miller_index(facet))
    cut = slabs.cut(cathode, rules, termination=termination or surfaces.lowest_termination(cathode, rules))
    if state is not None:
        cut = charging.charge(cathode, cut, state=state)
    held = slabs.hold_bottom(cut.structure, rules.hold_thickness_ang, where=rules.hold)
    if state is not None:  # the engines know the moments of the discharged ions
        moments = {**cathode.moments, **cathode.states[state].moments}
        held.add_site_property("magmom", [moments.get(site.species_string, 0.0) for site in held])
    # Charges have done their work in the cut; the engines read elements.
    held.remove_oxidation_states()
    return FacetSlab(rules.label, cut.termination if state is None else f"{cut.termination}-{state}", held)


def facet_slabs(cathode: Cathode, facets: Sequence[str], terminations: Sequence[str]) -> list[FacetSlab]:
    """Cut facets at their terminations of lowest surface energy, at all admissible ones, or at named ones.

    Parameters
    ----------
    terminations
        ``lowest``, ``all``, or labels such as ``100-t0.25``; a facet that no label names takes its lowest.

    Raises
    ------
    InputError
        Where a label belongs to none of the facets.
    """
    each_once("facet", facets)
    rules = {facet: cathode.facet(miller_index(facet)) for facet in facets}
    own = {facet: [t for t in terminations if t.startswith(f"{r.label}-")] for facet, r in rules.items()}
    strangers = sorted(set(terminations) - {"lowest", "all"} - {t for ts in own.values() for t in ts})
    if strangers:
        raise InputError(
            f"The termination {strangers[0]!r} belongs to none of the facets {', '.join(facets)}.",
            "Write lowest, all, or labels that 'epilayer build slab' lists, such as 100-t0.25.",
        )
    found = []
    for facet in facets:
        labels: Sequence[str | None] = own[facet] or [None]
        if "all" in terminations:
            labels = [cut.termination for cut in slabs.admissible(cathode, rules[facet])]
        found += [facet_slab(cathode, facet, termination=label) for label in labels]
    return found


@dataclass(frozen=True)
class Pair(MSONable):  # type: ignore[misc]  # monty is untyped
    """One ligand on one facet: the names they go by, and the legs that its energies are referred to."""

    system: System
    slab: Calculation
    molecule: Calculation

    @property
    def title(self) -> str:
        """What jobs and refusals call it."""
        return f"{self.system.ligand} on {self.system.cathode} ({self.system.facet})"

    def free_molecule(self, charge: int) -> Molecule:
        """Return the relaxed molecule without its box."""
        structure = self.molecule.structure
        return Molecule(structure.species, structure.cart_coords, charge=charge)


@dataclass(kw_only=True)
class AdsorptionStudyMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Adsorption energies of several ligands on several facets, and the growth verdict of each.

    Parameters
    ----------
    engine
        Searches for the minimum and computes it.
    checks
        Further engines: each relaxes its own legs and the minimum that ``engine`` found.
    search
        How the minimum is searched for.
    binding_threshold_ev
        A ligand holds where its adsorption energy is below this. An interval whose half-width is larger
        than its size is too wide to be certified.
    model_errors
        Errors in a benchmark of the levels that have any, by level.
    """

    engine: Engine
    checks: tuple[Engine, ...] = ()
    search: PoseSearch = field(default_factory=PoseSearch)
    binding_threshold_ev: Ev = -0.2
    model_errors: dict[str, ModelError] = field(default_factory=dict)
    name: str = "adsorption study"

    def make(
        self,
        cathode: str,
        facet_slabs: Sequence[FacetSlab],
        ligands: Sequence[Ligand],
        boxes: Mapping[str, Structure],
        competitors: Sequence[Ligand] = (),
    ) -> Flow:
        """Build the flow.

        Parameters
        ----------
        cathode
            Name of the cathode.
        facet_slabs
            One clean slab per facet and termination.
        ligands
            The ligands to adsorb; each gets a growth verdict.
        boxes
            Each molecule in its box, by its name.
        competitors
            Molecules that may take the ligands' sites. With any, all are ranked on every facet.

        Raises
        ------
        InputError
            Without a facet or a ligand, where one is named twice, or where an ion meets an engine that
            does not see charge.
        """
        studied = [ligand.name for ligand in ligands]
        ligands = [*ligands, *competitors]
        each_once("slab", [f"{slab.facet}, {slab.termination}" for slab in facet_slabs])
        each_once("ligand", [ligand.name for ligand in ligands])
        for engine in (self.engine, *self.checks):
            _refuse_ions(engine, ligands)
        records: dict[str, list[Any]] = {ligand.name: [] for ligand in ligands}
        places = _places(facet_slabs)
        legs = _Legs(
            self.engine,
            cathode,
            places,
            {places[slab.termination]: slab.structure for slab in facet_slabs},
            {ligand.name: boxes[ligand.name] for ligand in ligands},
        )
        jobs: list[Job] = [*legs.jobs]
        minima: dict[tuple[str, str], Job] = {}
        for slab in facet_slabs:
            place = places[slab.termination]
            for ligand in ligands:
                minimum = place_poses(self.engine, self.search, legs.pair(slab, ligand), ligand)
                minima[place, ligand.name] = mark(minimum, f"search {ligand.name} on {cathode} ({place})")
                jobs.append(minimum)
        jobs += self._reported(minima, records, f"on {cathode}", self.engine)
        for engine in self.checks:
            jobs += self._checked(engine, legs, facet_slabs, ligands, minima, records)
        settings = _parameters(self.search)
        for name in studied:
            verdict = judge_growth(records[name], self.binding_threshold_ev, settings)
            mark(verdict, f"growth of {name} on {cathode}", "growth")
            jobs.append(verdict)
        if competitors:
            for k, slab in enumerate(facet_slabs):
                # A molecule's records stand level by level, and in each in the order of the facets.
                here = [record for found in records.values() for record in found[k :: len(facet_slabs)]]
                ranking = rank_competitors(here, settings)
                mark(ranking, f"competition on {cathode} ({places[slab.termination]})", "competition")
                jobs.append(ranking)
        return Flow(jobs, name=self.name)

    def _checked(
        self,
        engine: Engine,
        legs: _Legs,
        facet_slabs: Sequence[FacetSlab],
        ligands: Sequence[Ligand],
        minima: Mapping[tuple[str, str], Job],
        records: dict[str, list[Any]],
    ) -> list[Job]:
        """Relax the minima again with another engine, from legs of its own."""
        own, cathode = legs.relaxed_with(engine), legs.cathode
        jobs: list[Job] = [*own.jobs]
        checked: dict[tuple[str, str], Job] = {}
        for slab in facet_slabs:
            place = legs.places[slab.termination]
            for ligand in ligands:
                found = minima[place, ligand.name].output
                title = f"{ligand.name} on {cathode} ({place}), {engine.level.name}"
                relaxed = engine.relax(f"relax {title}").make(found.structure)
                pair = own.pair(slab, ligand)
                check = certify_minimum(engine, pair, found, relaxed.output, self.search)
                checked[place, ligand.name] = mark(check, f"certify {title}")
                jobs += [relaxed, check]
        return [*jobs, *self._reported(checked, records, f"on {cathode}", engine)]

    def _reported(
        self,
        certified: Mapping[tuple[str, str], Job],
        records: dict[str, list[Any]],
        where: str,
        engine: Engine,
    ) -> list[Job]:
        """Compare the clean slabs that each place's values refer to, and judge what is open."""
        level = engine.level.name
        standard = Standard(
            model_error=self.model_errors.get(level), needed_ev=abs(self.binding_threshold_ev)
        )
        jobs = []
        for (place, ligand), made in certified.items():
            siblings = [j.output for (p, name), j in certified.items() if p == place and name != ligand]
            final = report_adsorption(made.output, siblings, standard)
            mark(final, f"report {ligand} {where} ({place}), {level}", "adsorption")
            records[ligand].append(final.output)
            jobs.append(final)
        return jobs


class _Legs:
    """The clean slabs and free molecules at one level, each computed once.

    Parameters
    ----------
    slabs, molecules
        Structures to begin from, by place and by name.
    """

    def __init__(
        self,
        engine: Engine,
        cathode: str,
        places: Mapping[str, str],
        slabs: Mapping[str, Any],
        molecules: Mapping[str, Any],
    ) -> None:
        self.cathode, self.places = cathode, places
        level = engine.level.name
        relaxed = {p: engine.relax(f"slab {cathode} ({p}), {level}").make(s) for p, s in slabs.items()}
        free = {name: engine.relax(f"molecule {name}, {level}").make(m) for name, m in molecules.items()}
        self.jobs: list[Job] = [*relaxed.values(), *free.values()]
        self.slab = {place: made.output for place, made in relaxed.items()}
        self.molecule = {name: made.output for name, made in free.items()}

    def relaxed_with(self, engine: Engine) -> _Legs:
        """Return the legs at another level, begun from these, which are near."""
        slabs = {place: leg.structure for place, leg in self.slab.items()}
        molecules = {name: leg.structure for name, leg in self.molecule.items()}
        return _Legs(engine, self.cathode, self.places, slabs, molecules)

    def pair(self, slab: FacetSlab, ligand: Ligand) -> Pair:
        """Return one ligand on one facet."""
        system = System(
            cathode=self.cathode, facet=slab.facet, termination=slab.termination, ligand=ligand.name
        )
        return Pair(system, self.slab[self.places[slab.termination]], self.molecule[ligand.name])


@job  # type: ignore[untyped-decorator]
def place_poses(engine: Engine, search: PoseSearch, pair: Pair, ligand: Ligand) -> Response[Any]:
    """Find starts on the relaxed slab; replaced by the first batch of pre-relaxations and what follows."""
    free, slab = pair.free_molecule(ligand.charge), pair.slab.structure
    anchors, count = molecules.anchors(ligand), -(-search.poses // search.streams)
    streams = [
        pose_builder.generate(slab, free, anchors=anchors, count=count, seed=search.seed + k)
        for k in range(search.streams)
    ]
    starts = [
        {"label": f"{number:02d}-{p.label[3:]}", "anchor": p.anchor, "site": p.site, "start": p.structure}
        for number, p in enumerate(interleaved(streams))
    ]
    first = decide(search, len(starts), [], PoseComparison(slab, free)).more
    return _next_batch(engine, search, pair, starts, [], first)


@job  # type: ignore[untyped-decorator]
def continue_search(
    engine: Engine,
    search: PoseSearch,
    pair: Pair,
    starts: list[dict[str, Any]],
    placed: list[Calculation],
) -> Response[Any]:
    """Place the next batch; or relax the best distinct poses in full and certify."""
    charge = int(starts[0]["start"].charge)
    found = [_placed_pose(s, c, pair) for s, c in zip(starts, placed, strict=False)]
    comparison = PoseComparison(pair.slab.structure, pair.free_molecule(charge))
    decision = decide(search, len(starts), found, comparison)
    if decision.more:
        return _next_batch(engine, search, pair, starts, placed, decision.more)
    jobs = _relaxations(engine, pair, starts, placed, decision.kept)
    result = certify_poses(
        engine,
        pair,
        starts[: len(placed)],
        placed,
        list(decision.kept),
        [j.output for j in jobs],
        _parameters(search),
        decision.confidence,
    )
    mark(result, f"certify {pair.title}, {engine.level.name}")
    return Response(replace=Flow([*jobs, result], output=result.output, name=f"best poses of {pair.title}"))


def _relaxations(
    engine: Engine, pair: Pair, starts: list[dict[str, Any]], placed: list[Calculation], chosen: Sequence[int]
) -> list[Job]:
    """Relax pre-relaxed poses in full, the slab released."""
    return [
        engine.relax(f"relax {pair.title}, {starts[k]['label']}").make(
            _free_as(placed[k].structure, starts[k]["start"])
        )
        for k in chosen
    ]


def _more_to_relax(
    pair: Pair,
    starts: list[dict[str, Any]],
    placed: list[Calculation],
    relaxed: Mapping[int, Calculation],
    parameters: Mapping[str, Scalar],
) -> list[int]:
    """Return the poses that the release of the slab may bring below the lowest, within the budget."""
    search = PoseSearch(**{key.removeprefix("search_"): value for key, value in parameters.items()})
    left = search.keep + search.more_kept - len(relaxed)
    if left <= 0:
        return []
    found = [_placed_pose(s, c, pair) for s, c in zip(starts, placed, strict=True)]
    charge = int(starts[0]["start"].charge)
    comparison = PoseComparison(pair.slab.structure, pair.free_molecule(charge))
    leaders = distinct(found, comparison, search)
    candidates = [k for k in leaders if found[k].sound and k not in relaxed]
    done = {k: c.energy_ev for k, c in relaxed.items() if c.ionic_converged}
    return may_be_lower([p.energy_ev for p in found], done, candidates)[: min(left, search.keep)]


def _next_batch(
    engine: Engine,
    search: PoseSearch,
    pair: Pair,
    starts: list[dict[str, Any]],
    placed: list[Calculation],
    more: range,
) -> Response[Any]:
    """Pre-relax the starts ``more``, then go on; what these jobs put out is the search's."""
    quick = Convergence(max_force_ev_per_ang=search.pre_max_force_ev_per_ang, max_steps=search.pre_steps)
    jobs = [
        engine.relax(f"place {pair.title}, {starts[k]['label']}", quick).make(
            _hold_slab(starts[k]["start"], len(pair.slab.structure))
        )
        for k in more
    ]
    outputs = [*placed, *(j.output for j in jobs)]
    chosen = continue_search(engine, search, pair, starts, outputs)
    mark(chosen, f"choose poses of {pair.title}, {more.stop} placed")
    return Response(
        replace=Flow([*jobs, chosen], output=chosen.output, name=f"poses of {pair.title}, {more.stop} placed")
    )


def _placed_pose(start: dict[str, Any], placed: Calculation, pair: Pair) -> PlacedPose:
    """Check a pre-relaxed pose: one that broke or left must not pass for a minimum."""
    found = find_anomalies(
        start["start"],
        placed.structure,
        clean_slab=pair.slab.structure,
        molecule=pair.molecule.structure,
    )
    sound = math.isfinite(placed.energy_ev) and not any(a.disqualifies for a in found)
    return PlacedPose(placed.structure, placed.energy_ev, sound, len(placed.energies_ev))


@job  # type: ignore[untyped-decorator]
def certify_poses(
    engine: Engine,
    pair: Pair,
    starts: list[dict[str, Any]],
    placed: list[Calculation],
    kept: list[int],
    relaxed: list[Calculation],
    parameters: dict[str, Scalar],
    confidence: SearchConfidence,
) -> AdsorptionEnergy | Response[Any]:
    """Certify or refuse the adsorption energy over the relaxed poses; first relax what may lie lower."""
    more = _more_to_relax(pair, starts, placed, dict(zip(kept, relaxed, strict=True)), parameters)
    if more:
        jobs = _relaxations(engine, pair, starts, placed, more)
        outputs = [*relaxed, *(j.output for j in jobs)]
        wider = [*kept, *more]
        result = certify_poses(engine, pair, starts, placed, wider, outputs, parameters, confidence)
        mark(result, f"certify {pair.title}, {engine.level.name}, {len(wider)} relaxed")
        return Response(replace=Flow([*jobs, result], output=result.output, name=f"more of {pair.title}"))
    return _certified(
        engine,
        pair,
        [ComputedPose(**starts[k], calculation=c) for k, c in zip(kept, relaxed, strict=True)],
        [ComputedPose(**starts[k], calculation=c) for k, c in enumerate(placed) if k not in kept],
        parameters,
        confidence,
    )


@job  # type: ignore[untyped-decorator]
def certify_minimum(
    engine: Engine,
    pair: Pair,
    found: AdsorptionEnergy,
    relaxed: Calculation,
    search: PoseSearch,
) -> AdsorptionEnergy | Response[Any]:
    """Certify the adsorption energy of a minimum that another engine found."""
    best = found.minimum
    if best is None:
        raise StructureError(
            f"{pair.title}: no pose was relaxed to start from.",
            "Rerun the search with more poses (--set poses=24).",
        )
    pose = ComputedPose(
        label=best.label, anchor=best.anchor, site=best.site, start=found.structure, calculation=relaxed
    )
    parameters = {"minimum_found_with": found.level.name, **_parameters(search)}
    return _certified(engine, pair, [pose], [], parameters, found.search)


@job  # type: ignore[untyped-decorator]
def certify_again(
    pair: Pair,
    rebuilt: Calculation,
    relaxed: list[ComputedPose],
    placed: list[ComputedPose],
    parameters: dict[str, Scalar],
    confidence: SearchConfidence | None,
) -> AdsorptionEnergy:
    """Certify against the lower of the clean slab and the rebuilt one."""
    clean = [pair.slab, rebuilt]
    reference = lowest_slab(clean)
    parameters = {**parameters, "clean_slab": clean[reference].label, "clean_slabs_compared": len(clean)}
    record = certify(pair.system, clean[reference], pair.molecule, relaxed, placed, parameters, confidence)
    return rebuilt_by_molecule(record)


def _certified(
    engine: Engine,
    pair: Pair,
    relaxed: list[ComputedPose],
    placed: list[ComputedPose],
    parameters: dict[str, Scalar],
    confidence: SearchConfidence | None,
) -> AdsorptionEnergy | Response[Any]:
    """Certify; where the molecule rebuilt the surface, first relax the rebuilt one without it.

    A clean slab may be caught in a minimum that the molecule only helped it out of. Its atoms, relaxed
    without the molecule, are then the lower clean slab, and what adsorption is referred to.
    """
    record = certify(pair.system, pair.slab, pair.molecule, relaxed, placed, parameters, confidence)
    rebuilt = next((p for p in relaxed if p.label == rebuilt_pose(record)), None)
    if rebuilt is None:
        return record
    system = pair.system
    title = f"{system.cathode} ({system.facet}) as {system.ligand} left it, {engine.level.name}"
    without = rebuilt.calculation.structure.copy()
    without.remove_sites(range(len(pair.slab.structure), len(without)))
    again = engine.relax(f"slab {title}").make(without)
    result = certify_again(pair, again.output, relaxed, placed, parameters, confidence)
    mark(result, f"certify {system.ligand} on {title}")
    return Response(replace=Flow([again, result], output=result.output, name=f"reference of {title}"))


@job  # type: ignore[untyped-decorator]
def report_adsorption(
    record: AdsorptionEnergy, siblings: list[AdsorptionEnergy], standard: Standard | None = None
) -> AdsorptionEnergy:
    """Return the record as it may be reported next to those of the other ligands on the same facet.

    Jobs of earlier versions state no standard; what they made is made again as it was.
    """
    referred = refer_to_lowest_slab(record, siblings)
    return referred if standard is None else judged(referred, standard)


@job  # type: ignore[untyped-decorator]
def judge_growth(
    records: list[AdsorptionEnergy], threshold_ev: float, parameters: dict[str, Scalar]
) -> GrowthVerdict:
    """Return the growth verdict over all facets and levels of one ligand."""
    return growth_verdict(records, threshold_ev, parameters=parameters)


@job  # type: ignore[untyped-decorator]
def rank_competitors(records: list[AdsorptionEnergy], parameters: dict[str, Scalar]) -> CompetingAdsorption:
    """Return the ranking of several molecules on one facet, over all levels."""
    return competing_adsorption(records, parameters)


def _refuse_ions(engine: Engine, ligands: Sequence[Ligand]) -> None:
    ion = next((ligand for ligand in ligands if ligand.charge), None)
    if ion is not None and not engine.sees_charge:
        raise InputError(
            f"{ion.name} carries {ion.charge:+d}, which {engine.level.name} does not see: it would compute "
            "a radical and call it an ion.",
            "Name the neutral molecule or ion pair instead (epilayer list ligands), such as sodium-acetate.",
        )


def _places(facet_slabs: Sequence[FacetSlab]) -> dict[str, str]:
    """Return what each termination is called: its facet, where that has no other."""
    facets = [slab.facet for slab in facet_slabs]
    return {s.termination: s.facet if facets.count(s.facet) == 1 else s.termination for s in facet_slabs}


def _parameters(search: PoseSearch) -> dict[str, Scalar]:
    return {f"search_{key}": value for key, value in search.model_dump().items()}


def _hold_slab(structure: Structure, n_slab: int) -> Structure:
    held = structure.copy()
    free = [[False] * 3] * n_slab + [[True] * 3] * (len(structure) - n_slab)
    held.add_site_property("selective_dynamics", free)
    return held


def _free_as(structure: Structure, pattern: Structure) -> Structure:
    freed = structure.copy()
    freed.add_site_property("selective_dynamics", pattern.site_properties["selective_dynamics"])
    return freed
