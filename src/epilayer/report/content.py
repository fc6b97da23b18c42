"""What a report is made of: records with their ids, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer.report import tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.records import Calculation
    from epilayer.model.reference import Reference
    from epilayer.report.paper_table import Found


@dataclass(frozen=True)
class ReportContent:
    """The input of every form of a report.

    Attributes
    ----------
    found
        Every record with its id, by kind.
    reference
        The publication that the records are compared with.
    calculations
        Calculations behind the legs of adsorption energies, as far as at hand: each is drawn as the
        course of its relaxation.
    sources
        Source text of engines, levels, cathodes and ligands by title; DOIs in it become links.
    bibliography
        Citations with authors by DOI (:func:`epilayer.report.citations.entries_by_doi`).
    """

    found: Mapping[str, Sequence[Found]] = field(default_factory=dict)
    reference: Reference | None = None
    calculations: Sequence[Calculation] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    bibliography: Mapping[str, str] = field(default_factory=dict)

    def records(self, kind: str) -> list[Any]:
        """Return the records of one kind, in their typed form."""
        return [one.record for one in self.found.get(kind, ())]

    def comparison(self) -> tables.Comparison:
        """Set the adsorption energies and growth verdicts beside the published ones."""
        return tables.compare(self.records("adsorption"), self.records("growth"), self.reference)

    def threshold_ev(self) -> float | None:
        """Return the binding threshold of the growth verdicts; ``None`` where they differ in it."""
        thresholds = {verdict.threshold_ev for verdict in self.records("growth")}
        return thresholds.pop() if len(thresholds) == 1 else None
