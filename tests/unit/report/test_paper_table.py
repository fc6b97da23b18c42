"""The publication row by row: what was computed, what was refused, and what would compute the rest."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
from click.testing import CliRunner

from epilayer.cli.root import app
from epilayer.model.level import EngineKind
from epilayer.report.content import ReportContent
from epilayer.report.figures import study_figures
from epilayer.report.html import render_html
from epilayer.report.methods import methods_text
from epilayer.report.paper_table import COMPUTED, NOT_RUN, REFUSED, Found, paper_table
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from epilayer.model.reference import Reference

ROWS = [f"S{n}" for n in range(1, 14)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Catalogue((shipped("configs"),)).reference("isotropic-epilayer-2025")


def found(make: Any, **changes: Any) -> dict[str, list[Found]]:  # noqa: ANN401
    refused = make.adsorption(None, ligand="2-methylimidazole")
    records = [make.adsorption(-0.39, **changes), refused]
    return {"adsorption": [Found(f"{n}" * 64, record) for n, record in enumerate(records)]}


def test_every_row_of_the_paper_is_there_and_says_what_would_compute_it(reference: Reference) -> None:
    rows = paper_table({}, reference)
    assert [row.id for row in rows] == ROWS
    assert {row.status for row in rows} == {NOT_RUN}
    commands = typer.main.get_command(app)
    for row in rows:
        program, *words = shlex.split(row.command)
        assert program == "epilayer"
        assert CliRunner().invoke(commands, [words[0], *words[1:2], "--help"]).exit_code == 0
        if words[0] == "run":
            assert (shipped("workflows") / f"{words[1]}.py").is_file()


def test_values_stand_with_interval_level_and_deviation(make: Any, reference: Reference) -> None:  # noqa: ANN401
    rows = {row.id: row for row in paper_table(found(make), reference)}
    ours, interval = rows["S2"].ours
    assert ours.text.replace("\N{MINUS SIGN}", "-") == (
        "(001) -0.39 eV, provisional: certified by convergence alone, without dispersion +0.03"
    )
    assert interval.text.replace("\N{MINUS SIGN}", "-") == "(001) interval -0.39 to +0.03 eV"
    assert (ours.level, ours.deviation, rows["S2"].status) == ("chgnet+d3", "", COMPUTED)
    assert rows["S3"].status == REFUSED
    assert "largest force 0.210 eV/A" in rows["S3"].ours[0].text
    assert {row.status for row in rows.values() if row.id not in {"S2", "S3"}} == {NOT_RUN}


def test_a_stand_in_is_no_result(make: Any, reference: Reference) -> None:  # noqa: ANN401
    toy = {"adsorption": [Found("0" * 64, make.adsorption(at=make.level("toy", EngineKind.TOY)))]}
    assert {row.status for row in paper_table(toy, reference)} == {NOT_RUN}
    assert methods_text(toy) == ()


def test_each_number_of_the_page_opens_to_its_files(make: Any, reference: Reference) -> None:  # noqa: ANN401
    page = render_html(ReportContent(found(make), reference))
    links = set(re.findall(r'href="#(from-\w+)"', page))
    assert links == {"from-000000000000", "from-111111111111"}
    for link in links:
        section = page.split(f'id="{link}"')[1].split("</details>")[0]
        assert "outputs.json.gz" in section
        assert "cd" * 32 in section
    assert all(f'id="row-{row}"' in page for row in ROWS)
    assert "epilayer run solvent_screening" in page


def test_methods_say_what_was_executed(make: Any) -> None:  # noqa: ANN401
    text = "\n".join(methods_text(found(make)))
    assert "D3(BJ), PBE parameters" in text
    assert "max_force_ev_per_ang = 0.05" in text
    assert "chgnet 0.4.2" in text
    assert "Of 2, 0 were certified, 1 are provisional and 1 refused" in text


def test_every_figure_stands_in_a_vector_file_of_its_own(make: Any, reference: Reference) -> None:  # noqa: ANN401
    drawn = dict(study_figures(ReportContent(found(make), reference)))
    assert {name.partition("-")[0] for name in drawn} == {"adsorption", "structure"}
    assert len(drawn) == 1 + 2  # the energies, and a picture of each result
    assert all(data.startswith(b"%PDF") and b"/Subtype /Image" not in data for data in drawn.values())
    assert drawn == dict(study_figures(ReportContent(found(make), reference)))  # equal records, equal bytes
    toy = {"adsorption": [Found("0" * 64, make.adsorption(at=make.level("toy", EngineKind.TOY)))]}
    assert dict(study_figures(ReportContent(toy, reference))) == {}
