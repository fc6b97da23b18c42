"""Every block of the tutorial, the how-to pages and the README is executed, and every example of the help.

What is not executed as it is printed stands in ``INSTEAD``, with what stands for it; what needs SLURM and a
database is marked ``cluster`` and run by ``tests/cluster/test_docs_on_cluster.py``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import demo
import material
from pages import DOCS, ROOT, Block, alike, blocks, difference
from reading import Session, examples_of_help, needs_cluster, parts
from terminal import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [
    ROOT / "README.md",
    *sorted((DOCS / "how-to").glob("*.md")),
    DOCS / "science.md",
    DOCS / "one-ligand.md",
    ROOT / "CONTRIBUTING.md",
]
DEMO = ("query.md", "pandas.md")
"""Pages that read the results of a real ``make demo``; the others have those of the tutorial's rehearsal."""

DEMO_RESULTS = Path(demo.__file__)
REHEARSAL = "epilayer run paper_adsorption --level toy --quick --set ligands=triazole --set facets=100"
INSTEAD = {
    # Minutes of computing, replaced by the results of a real run of this very command.
    "epilayer run paper_adsorption": f"python {DEMO_RESULTS}",
    # The same command with a toy potential, whose jobs the rehearsal has computed.
    "epilayer run paper_adsorption --workers 2": REHEARSAL + " --workers 2",
    "epilayer submit met6_transport --set segment_wall_time_s=3600 --set seeds=0,1 --dry-run": (
        "epilayer submit met6_transport --set segment_wall_time_s=3600 --set seeds=0,1 --dry-run --quick"
    ),
    # Minutes of computing: the flow is built, and what it would run is shown.
    "epilayer run met6_transport --quick": "epilayer submit met6_transport --quick --dry-run",
    "epilayer run adsorption --cathode mine.cif --facet 104 --ligand triazole": (
        "epilayer run adsorption --cathode mine.cif --facet 104 --ligand triazole --dry-run"
    ),
    "epilayer run sensitivity": "epilayer submit sensitivity --set facets=100 --set poses=2 --dry-run",
}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with Programs(tmp_path_factory.mktemp("bin")) as started:
        yield started


@pytest.fixture(scope="session")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader is taken to have."""
    folder = tmp_path_factory.mktemp("own")
    material.lay_out(folder)
    return folder


@pytest.fixture(scope="session")
def tutorial(programs: Programs, own_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The tutorial, executed in an empty folder; its rehearsal is where the how-to pages begin."""
    session = Session(programs.terminal(tmp_path_factory.mktemp("tutorial")), own_files, INSTEAD)
    for block in blocks(DOCS / "tutorial.md"):
        session.run(block)
    return session


@pytest.mark.slow
def test_the_tutorial_does_what_it_shows(tutorial: Session) -> None:
    assert not tutorial.findings, "\n\n".join(tutorial.findings)
    assert tutorial.executed >= 12


@pytest.fixture
def rehearsed(tutorial: Session, tmp_path: Path) -> Path:
    """A copy of the study that the tutorial's rehearsal leaves behind."""
    return shutil.copytree(tutorial.terminal.folder.parent / "try", tmp_path / "study")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_does_what_it_shows(
    page: Path, programs: Programs, own_files: Path, rehearsed: Path
) -> None:
    start = rehearsed
    if page.name in DEMO:
        shutil.rmtree(start / ".epilayer")
        demo.put_demo_results(start)
    if page.name == "README.md":  # it lays out the study itself
        own_files, start = rehearsed, rehearsed.parent / "empty"
        start.mkdir()
    session = Session(programs.terminal(start), own_files, INSTEAD)
    for block in blocks(page):
        if block.marked("elsewhere") is None and block.marked("cluster") is None:
            session.run(block)
    assert not session.findings, "\n\n".join(session.findings)


HELP = examples_of_help()
IN_HELP = {
    # Computing, cut short.
    "epilayer run paper_adsorption --workers 2": REHEARSAL,
    "epilayer run surface_energies --quick": (
        "epilayer run surface_energies --quick --level toy --set facets=100"
    ),
    "epilayer build pore met6 --salt NaFSI:2 --chain pom15:2 --seed 1 -o loaded.cif": (
        "epilayer build pore met6 --salt NaFSI:1 --seed 1 -o loaded.cif"
    ),
    "epilayer inputs paper_adsorption --level paper -o inputs": (
        "epilayer inputs paper_adsorption --level paper --quick --set facets=100 -o new-inputs"
    ),
    "epilayer submit paper_adsorption --level chgnet+d3 --set poses=24 --dry-run": (
        "epilayer submit paper_adsorption --level chgnet+d3 --set poses=24 --set facets=100 --dry-run"
    ),
}
ELSEWHERE = {
    "epilayer doctor --rehearse": "tests/vasp/test_doctor_vasp.py::test_a_campaign_is_rehearsed_end_to_end",
    "epilayer benchmark chgnet+d3 --geometries Data_autoSKZCAM/": (
        "tests/unit/study/test_benchmarking.py::test_shipped_errors_are_those_of_the_level_as_it_is_executed"
    ),
}
CODES = {"epilayer rerun --failed && epilayer run": 0, "epilayer audit facts.yaml --json": 1}
"""Exit codes other than 0."""


@pytest.mark.slow
def test_every_example_of_the_help_does_something(
    programs: Programs, own_files: Path, rehearsed: Path
) -> None:
    """In the order of the commands' groups, in one study: what one writes another reads."""
    session = Session(programs.terminal(rehearsed), own_files, IN_HELP)
    session.terminal.run("printf 'authors: [{name: A. Author}]\\nlicence: CC-BY-4.0\\n' >> epilayer.yaml")
    nowhere = Block("epilayer --help", 0, "console", "")
    for examples in HELP.values():
        for example in examples:
            if example not in ELSEWHERE and not needs_cluster(example):
                session.terminal.folder = rehearsed
                session.command(nowhere, session.replaced(example), (), CODES.get(example, 0))
    assert not session.findings, "\n\n".join(session.findings)
    assert session.executed > 40


def every_block() -> list[Block]:
    return [block for page in (DOCS / "tutorial.md", *PAGES) for block in blocks(page)]


def test_no_block_escapes() -> None:
    """A block is run, or says what it is; commands stand in blocks and never indented."""
    for block in every_block():
        assert block.language in {"console", "python", "yaml", "text"}, f"{block.where}: {block.language!r}"
        if block.language in {"yaml", "text"} and not block.file:
            assert block.mark, f"{block.where}: name the file above it, or mark it"
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"^ {4}(?!\s*[-*|])\S", prose, re.MULTILINE), f"{page}: an indented block"


def test_a_ligand_takes_twelve_lines_and_a_cathode_twelve_and_a_cif() -> None:
    for page, kinds in (("ligand", [".yaml"]), ("cathode", [".cif", ".yaml"])):
        files = {b.file: b.text for b in blocks(DOCS / "how-to" / f"{page}.md") if b.file}
        assert sorted(Path(name).suffix for name in files) == kinds
        assert all(len(text.splitlines()) <= 12 for name, text in files.items() if name.endswith(".yaml"))


def test_what_runs_elsewhere_has_a_test_that_is_there() -> None:
    marked = [b.marked("elsewhere") for b in every_block()] + list(ELSEWHERE.values())
    for name in filter(None, marked):
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_every_replacement_is_used() -> None:
    printed = {part for block in every_block() for command in block.commands for part in parts(command.text)}
    assert [text for text in INSTEAD if text not in printed] == []
    examples = {part for found in HELP.values() for text in found for part in (text, *text.split(" && "))}
    assert [text for text in (*IN_HELP, *ELSEWHERE, *CODES) if text not in examples] == []


def test_the_readme_shows_the_report_of_a_real_run(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "epilayer.yaml").touch()
    demo.put_demo_results(tmp_path)
    printed = programs.terminal(tmp_path).run("epilayer report").text
    (shown,) = (b.text for b in blocks(ROOT / "README.md") if b.marked("output of") == "make demo")
    assert [line.rstrip() for line in printed.splitlines()][: len(shown.splitlines())] == shown.splitlines()


@pytest.mark.parametrize(
    ("shown", "printed", "found"),
    [
        (("a 1.5 s",), "a 2.25 s\n", True),
        (("a", "c"), "a\nb\nc\n", False),
        (("a", "...", "c"), "a\nb\nc\n", True),
        (("a", "..."), "a\nb\n", True),
        (("a",), "a\nb\n", False),
        (("...", "c"), "a\nb\n", False),
        ((), "whatever\n", True),
    ],
)
def test_an_output_is_compared_but_for_its_numbers(shown: tuple[str, ...], printed: str, found: bool) -> None:
    assert (difference(shown, printed) is None) is found
    assert alike("took 1.2 s at 3f2a9c1b") == alike("took 11 s at 0aa9c1b7")
