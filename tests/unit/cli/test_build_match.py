"""``epilayer build match``: figures of MET-6 on NVOPF, crystals of one's own, refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure

from command import runner

if TYPE_CHECKING:
    from pathlib import Path

    from command import Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "build", "match")


def test_met6_on_nvopf(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        "met6", "nvopf", "--miller", "0", "0", "1", "-o", "m.cif", "--html", "m.html", "--json"
    )
    assert code == 0
    best = json.loads(out)["best"]
    # 2 x 6.3811 A on 17.665 A / sqrt2: both directions alike.
    strain = 2 * 6.3811 / (17.665 / 2**0.5) - 1
    assert best["principal_strains"] == pytest.approx([strain, strain])
    assert (best["cells"], best["mof_cells"]) == (4, 1)
    assert best["area_ang2"] == pytest.approx(4 * 6.3811**2)
    strained = Structure.from_file(tmp_path / "m.cif")
    assert len(strained) == 90
    assert strained.volume == pytest.approx(17.665**3 / 4 * (1 + strain) ** 2)
    _, text, _ = run("met6", "nvopf", "--miller", "001")
    for found in json.loads(out)["matches"]:
        assert f"{found['area_ang2']:.1f}" in text
        assert f"{100 * found['von_mises_strain']:.2f}" in text


def test_a_framework_and_a_cathode_of_ones_own(run: Run, tmp_path: Path) -> None:
    for name, edge_ang, species in (("mof", 4.2 * 2**0.5, ["Mg", "O"]), ("mgo", 4.2, ["Mg", "O"])):
        crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge_ang), species, [[0, 0, 0], [0.5] * 3])
        crystal.relabel_sites()
        crystal.to(str(tmp_path / f"{name}.cif"), fmt="cif")
    code, out, _ = run(
        "mof.cif", "mgo.cif", "-m", "0", "0", "1", "--mof-miller", "001", "--max-area", "100", "--json"
    )
    assert code == 0
    best = json.loads(out)["best"]
    assert best["principal_strains"] == pytest.approx([0, 0], abs=1e-6)
    assert (best["cells"], best["mof_cells"]) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (("met7", "nvopf", "-m", "001"), "Unknown mof 'met7'", "Did you mean 'met6'?"),
        (("met6", "nvopg", "-m", "001"), "Unknown cathode 'nvopg'", "Did you mean 'nvopf'?"),
        (("absent.cif", "nvopf", "-m", "001"), "absent.cif cannot be read", "Check the path"),
        (("met6", "nvopf", "-m", "000"), "names no plane", "not all 0"),
        (("met6", "nvopf", "-m", "001", "--mof-miller", "x"), "'x' is no Miller index", "three integers"),
        (("met6", "nvopf", "-m", "001", "--max-area", "50"), "one cell already has", "--max-area"),
        (("zif8", "nvopf", "-m", "100", "--max-strain", "0.001"), "does not fit (100)", "--max-strain"),
        (("met6", "nvopf", "-m", "001", "-o", "x.gif"), "cannot tell the format", "Name it .cif"),
    ],
)
def test_bad_input_is_one_line_and_a_remedy(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], what: str, remedy: str
) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert what in lines[0]
    assert remedy in lines[1]
    assert out == ""
    assert not list(tmp_path.iterdir())
