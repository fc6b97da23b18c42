"""Everything that a publication computed or claims, row by row, beside what was computed here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from epilayer.model.kinds import KINDS
from epilayer.model.level import EngineKind
from epilayer.model.records import GrowthMode, growth_words
from epilayer.model.transport import Verdict
from epilayer.report import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from epilayer.model.base import Frozen
    from epilayer.model.bonding import BondStudy
    from epilayer.model.epitaxy import EpitaxialMatch
    from epilayer.model.ion_transport import IonTransport
    from epilayer.model.records import AdsorptionEnergy, CompetingAdsorption, GrowthVerdict
    from epilayer.model.reference import Reference, Shown
    from epilayer.model.surface import SurfaceEnergy, WulffShape

COMPUTED, REFUSED, NOT_RUN = "computed", "refused", "not run"


@dataclass(frozen=True)
class Found:
    """A stored record, and the id by which it is checked and looked up."""

    id: str
    record: Any


@dataclass(frozen=True)
class Ours:
    """One value computed here.

    Attributes
    ----------
    id
        Of its record.
    text
        What it is of and its value with its interval, or why there is none.
    known
        Whether it is a value, certified or provisional.
    deviation
        Computed minus published, where both are of the same method.
    """

    id: str
    text: str
    level: str
    known: bool
    deviation: str = ""


@dataclass(frozen=True)
class PaperRow:
    """One row: what the paper says, what was computed here, and why the two may differ.

    Attributes
    ----------
    command
        What would compute it; also given where it was computed.
    """

    id: str
    system: str
    quantity: str
    paper: str
    status: str
    ours: tuple[Ours, ...]
    why: str
    command: str


def paper_table(found: Mapping[str, Sequence[Found]], reference: Reference) -> tuple[PaperRow, ...]:
    """Return the rows of a publication, in its order.

    Parameters
    ----------
    found
        Stored records by kind. Those of a stand-in engine are no results, and count as not run.
    """
    rows = []
    for asked in reference.quantities:
        ours = tuple(one for shown in asked.shows for one in _ours(found, reference, shown))
        status = COMPUTED if any(o.known for o in ours) else REFUSED if ours else NOT_RUN
        rows.append(
            PaperRow(
                id=asked.id,
                system=asked.system,
                quantity=asked.quantity,
                paper=asked.printed,
                status=status,
                ours=ours,
                why=asked.differs,
                command=asked.command,
            )
        )
    return tuple(rows)


def rows_to_json(rows: Sequence[PaperRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON-ready values."""
    return [asdict(row) for row in rows]


def _ours(found: Mapping[str, Sequence[Found]], reference: Reference, shown: Shown) -> Iterator[Ours]:
    """Yield what the records that a row asks for say, those of a stand-in engine left out."""
    views = _VIEWS[shown.kind]
    chosen = [
        one for one in found.get(shown.kind, ()) if _is_real(one.record) and _matches(one.record, shown)
    ]
    yield from views[shown.view](chosen, reference, shown)


def _is_real(record: Any) -> bool:  # noqa: ANN401  (any record)
    level = getattr(record, "level", None)
    toy = level is not None and (level.stand_in or level.kind is EngineKind.TOY)
    return not toy and not getattr(record, "stand_in", False)


def _matches(record: Frozen, shown: Shown) -> bool:
    if not shown.where:
        return True
    fields = KINDS[shown.kind].fields(record)
    return all(fields.get(name) == value for name, value in shown.where.items())


def _adsorption(found: Sequence[Found], reference: Reference, shown: Shown) -> Iterator[Ours]:
    for ligand in sorted({f.record.ligand for f in found}):
        chosen = [f for f in found if f.record.ligand == ligand]
        name = "" if "ligand" in shown.where else f"{ligand} "
        for one in sorted(chosen, key=lambda f: (f.record.facet, f.record.level.name)):
            record: AdsorptionEnergy = one.record
            value = record.adsorption_energy_ev
            published = reference.value(record.cathode, record.facet, ligand)
            less = record.without_dispersion_ev
            around = record.uncertainty
            ends = (around.low_ev, around.high_ev) if around else (None, None)
            badge = ": ".join([record.badge.value, *filter(None, ["; ".join(record.open_because)])])
            text = f"({record.facet}) {tables.ev_with_interval(value, *ends)} eV, {badge}"
            if value is None:
                text = f"({record.facet}) refused: {record.refusals[0].what if record.refusals else 'see it'}"
            elif less is not None:
                text += f", without dispersion {tables.ev(less)}"
            same = published is not None and record.level.name == reference.level
            off = tables.ev(value - published.value_ev) if same and value is not None and published else ""
            yield Ours(one.id, name + text, record.level.name, value is not None, off)
        for facet in sorted({f.record.facet for f in chosen}):
            values = [
                value
                for f in chosen
                if f.record.facet == facet
                for value in (f.record.adsorption_energy_ev, f.record.without_dispersion_ev)
                if value is not None
            ]
            if len(values) > 1:
                text = f"{name}({facet}) interval {tables.interval(min(values), max(values))} eV"
                yield Ours("", text, "over levels, with and without dispersion", known=True)


def _growth(found: Sequence[Found], reference: Reference, _: Shown) -> Iterator[Ours]:
    for one in found:
        verdict: GrowthVerdict = one.record
        said = reference.growth_of(verdict.cathode, verdict.ligand)
        known = verdict.mode is not GrowthMode.UNDECIDED
        same = said is not None and said.mode is verdict.mode
        beside = "" if said is None or not known else f"; {'as' if same else 'differs from'} the paper"
        facets = ", ".join(f"({f.facet}) {tables.interval(f.low_ev, f.high_ev)} eV" for f in verdict.facets)
        words = growth_words(verdict.mode, verdict.binding_facets)
        levels = ", ".join(sorted({name for f in verdict.facets for name in f.values_ev}))
        yield Ours(one.id, f"{verdict.ligand}: {words}; {facets}{beside}", levels, known)


def _by_facet(one: Found) -> tuple[str, bool, float]:
    value = one.record.surface_energy_j_per_m2
    return one.record.facet, value is None, value or 0.0


def _surfaces(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in sorted(found, key=_by_facet):
        record: SurfaceEnergy = one.record
        value, half = record.surface_energy_j_per_m2, record.uncertainty_j_per_m2
        shown = (
            "refused"
            if value is None
            else f"{value:.3f} \N{PLUS-MINUS SIGN} {half or 0:.3f} J/m\N{SUPERSCRIPT TWO}"
        )
        yield Ours(
            one.id, f"({record.facet}) {record.termination}: {shown}", record.level.name, value is not None
        )


def _shapes(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        shape: WulffShape = one.record
        faces = [f"({f.facet}) {f.outline}, {f.area_fraction:.0%}" for f in shape.facets if f.faces]
        text = f"shape: {'; '.join(faces)}" if faces else "shape: refused"
        yield Ours(one.id, text, shape.level.name, bool(faces))


def _pore(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        record: IonTransport = one.record
        yield Ours(
            one.id,
            f"{record.system}: {record.formula}, {record.atoms} atoms",
            record.level.name,
            known=True,
        )


def _dynamics(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        record: IonTransport = one.record
        text = (
            f"{record.steps} steps of {record.settings.time_step_fs:g} fs, "
            f"{record.equilibration_steps} of them equilibration; "
            f"{record.mean_temperature_k:.0f} K on average; moves: {record.moves}"
        )
        if record.lost:
            text += f"; at the joins of {len(record.segments)} segments: {'; '.join(record.lost)}"
        yield Ours(one.id, text, record.level.name, known=True)


def _motion(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        record: IonTransport = one.record
        estimate = record.report.of(record.cation)
        ends = [e for e in (estimate.lower_cm2_per_s, estimate.upper_cm2_per_s) if e is not None]
        value = estimate.diffusion_cm2_per_s
        between = " to ".join(f"{end:.1e}" for end in ends)
        said = (
            f"{value:.1e} ({between}) cm\N{SUPERSCRIPT TWO}/s"
            if value is not None
            else f"{estimate.verdict.value}: {estimate.reason[:1].lower()}{estimate.reason[1:]}"
        )
        refused = estimate.verdict is Verdict.REFUSED
        yield Ours(one.id, f"D({record.cation}) {said}", record.level.name, known=not refused)
        oxygen = next((s for s in record.solvation.shells if s.partner == "all O"), None)
        if oxygen is not None and oxygen.first_peak_ang is not None:
            yield Ours(
                one.id,
                f"{record.cation.capitalize()}-O {oxygen.first_peak_ang:.2f} Å",
                record.level.name,
                known=True,
            )
        for pair in record.report.faster[:1]:
            known = pair.verdict is not Verdict.REFUSED
            yield Ours(one.id, pair.said, record.level.name, known=known)


def _bonds(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        study: BondStudy = one.record
        change = study.strongest_weakening_ratio
        spread = study.orientation_spread_ratio
        over = "" if spread is None else f", spread over orientations {spread:.0%}"
        shown = study.refusal or study.statement if change is None else (
            f"{study.weakest_bond} changes by {change:+.0%}{over} ({study.measure.value})"
        )  # fmt: skip
        yield Ours(one.id, f"{_where(study)}: {shown}", study.level.name, change is not None)


def _where(study: BondStudy) -> str:
    if study.facet == "none":
        return f"{study.molecule} {study.state} of {study.cathode}"
    return f"{study.molecule} on ({study.facet}), {study.state}"


def _abstraction(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        study: BondStudy = one.record
        if study.facet == "none":  # in a pore there is no surface to take one
            continue
        seen = study.abstraction
        said = (
            f"hydrogen lost while relaxing, {', '.join(seen.spontaneous)}" if seen.spontaneous
            else f"{seen.hydrogen} from {seen.donor} to {seen.acceptor}: {tables.ev(seen.energy_ev)} eV"
            + ("" if seen.barrier_ev is None or seen.barrier_method is None
               else f", barrier {seen.barrier_ev:.2f} eV ({seen.barrier_method.value})")
            if seen.energy_ev is not None
            else f"refused: {seen.refusal}"
        )  # fmt: skip
        yield Ours(one.id, f"{_where(study)}: {said}", study.level.name, seen.refusal is None)


def _built(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        match: EpitaxialMatch = one.record
        yield Ours(one.id, f"built and strained: {match.mof_formula}", match.level.name, known=True)


def _competition(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        record: CompetingAdsorption = one.record
        values = [
            f"{c.ligand} {tables.interval(c.low_ev, c.high_ev)}"
            for c in record.competitors
            if c.low_ev is not None
        ]
        levels = ", ".join(sorted({name for c in record.competitors for name in c.values_ev}))
        text = f"({record.facet}), hardest first, eV: {'; '.join(values) or 'all refused'}"
        yield Ours(one.id, text, levels, bool(values))


def _epitaxy(found: Sequence[Found], _: Reference, __: Shown) -> Iterator[Ours]:
    for one in found:
        match: EpitaxialMatch = one.record
        value = match.deformation_energy_ev
        strain = f"largest strain {max(map(abs, match.match.principal)):.1%}"
        energy = (
            f"refused: {match.refusals[0].what if match.refusals else 'see it'}" if value is None
            else f"{tables.ev_with_uncertainty(value, match.uncertainty_ev)} eV a formula unit"
        )  # fmt: skip
        text = f"{match.mof} ({match.match.mof_facet}) on ({match.facet}): {energy}, {strain}"
        yield Ours(one.id, text, match.level.name, value is not None)


_VIEWS: dict[str, dict[str, Callable[[Sequence[Found], Reference, Shown], Iterator[Ours]]]] = {
    "adsorption": {"": _adsorption},
    "growth": {"": _growth},
    "competition": {"": _competition},
    "surface": {"": _surfaces},
    "wulff": {"": _shapes},
    "transport": {"": _motion, "cell": _pore, "protocol": _dynamics},
    "bond_strength": {"": _bonds, "hydrogen": _abstraction},
    "epitaxy": {"": _epitaxy, "built": _built},
}
"""What a row says of the records of each kind, by view."""
