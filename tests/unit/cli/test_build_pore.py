"""``epilayer build pore``: what it writes, its JSON, and one clear line for every bad input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Structure

from command import runner

if TYPE_CHECKING:
    from pathlib import Path

    from command import Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "build", "pore")


def test_a_small_load_is_written_and_told(run: Run, tmp_path: Path) -> None:
    asked = ("met6", "--salt", "NaFSI:1", "--chain", "pom3:1", "--seed", "2")
    code, told, _ = run(*asked, "-o", "loaded.cif")
    assert code == 0
    code, printed, _ = run(*asked, "-o", "again.json", "--json")
    assert code == 0
    report = json.loads(printed)
    assert report["valid"]
    assert report["atoms"] == 360 + 10 + 15
    for check in report["checks"]:
        assert "".join(check["found"].split()) in "".join(told.split())  # a narrow terminal wraps it
    for figure in ("density_g_per_cm3", "free_volume_fraction", "voids", "contacts", "cations", "seed"):
        assert report[figure] not in (None, [])
    kept = Structure.from_file("again.json")
    assert list(kept.site_properties["part"]).count("host") == report["host_atoms"] == 360
    rows = [
        line.split() for line in (tmp_path / "loaded.cif").read_text().splitlines() if line.startswith("  ")
    ]
    atoms = [row for row in rows if len(row) == 9]
    assert [row[0] for row in atoms] == [site.specie.symbol for site in kept]
    assert np.allclose([[float(x) for x in row[2:5]] for row in atoms], kept.frac_coords, atol=1e-9)
    assert [int(row[7]) for row in atoms] == list(kept.site_properties["molecule"])
    assert Structure.from_file("loaded.cif").composition == kept.composition


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (("met-6", "--chain", "pom3"), "Unknown mof 'met-6'", "Did you mean 'met6'?"),
        (("met6", "--salt", "NaFS:2"), "Unknown salt 'NaFS'", "Did you mean 'NaFSI'?"),
        (("met6", "--salt", "NaFSI:0"), "'0' is no number of molecules", "such as :2"),
        (("met6", "--chain", "pom15:many"), "'many' is no number of molecules", "such as :2"),
        (("met6", "--chain", "nylon"), "names no chain", "pom15:2"),
        (("met6", "--chain", "pom3", "-o", "x.pdb"), "cannot tell the format", ".cif"),
        (("met6",), "Nothing is to be loaded", "NaFSI:2"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], what: str, remedy: str
) -> None:
    code, _, said = run(*arguments)
    assert code == 2
    assert what in said
    assert remedy in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_load_that_does_not_fit_writes_nothing(run: Run, tmp_path: Path) -> None:
    code, _, said = run("met6", "--salt", "NaFSI:2", "--chain", "pom400:2", "-o", "loaded.cif")
    assert code == 2
    assert "free" in said
    assert "repeat units fit" in said
    assert list(tmp_path.iterdir()) == []
