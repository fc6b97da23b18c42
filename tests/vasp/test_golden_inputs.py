"""Every input file of the adsorption study under both levels of the paper, compared in full.

``EPILAYER_WRITE_GOLDEN=1 pytest tests/vasp/test_golden_inputs.py`` writes the files anew; look at the
difference, and at ``docs/vasp-inputs.md``, before committing it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from epilayer import Study
from epilayer.study.config import Settings
from epilayer.study.workflows import write_inputs
from golden import lines, unreviewed, written_beside

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
LEVELS = ("paper", "paper+u+d3")
FILES = ("INCAR", "KPOINTS", "POSCAR", "POTCAR.spec")
SETTINGS = ("poses=1", "keep=1", "check_levels=")
SAME_ANG = 0.02

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=LEVELS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of the inputs as written now, and of the golden ones."""
    folder = tmp_path_factory.mktemp("inputs") / "now"
    study = Study(tmp_path_factory.mktemp("study"), Settings())
    return written_beside(
        folder,
        GOLDEN / request.param,
        lambda: write_inputs(study, "paper_adsorption", folder, request.param, SETTINGS),
        FILES,
    )


def folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir())


def test_the_same_calculations_are_written(written: tuple[Path, Path]) -> None:
    now, golden = written
    assert folders(now) == folders(golden)
    kinds = {name.split("-")[0] for name in folders(now)}
    assert kinds == {"slab", "molecule", "place", "relax"}
    assert len(folders(now)) == 2 + 2 + 4 + 4


@pytest.mark.parametrize("file", ["INCAR", "KPOINTS", "POTCAR.spec"])
def test_every_line_is_the_reviewed_one(written: tuple[Path, Path], file: str) -> None:
    now, golden = written
    for name in folders(golden):
        assert lines(now, name, file) == lines(golden, name, file), name


def test_positions_are_the_reviewed_ones(written: tuple[Path, Path]) -> None:
    now, golden = written
    for name in folders(golden):
        found, wanted = ((root / name / "POSCAR").read_text().splitlines() for root in (now, golden))
        assert len(found) == len(wanted), name
        assert found[5:9] == wanted[5:9], name  # elements, counts, modes
        cells = [np.array([line.split() for line in lines[2:5]], dtype=float) for lines in (found, wanted)]
        assert np.allclose(*cells, atol=1e-4), name
        first = 8 + (wanted[7].strip()[:1] == "S") - 0
        for one, two in zip(found[first:], wanted[first:], strict=True):
            if not one.strip():
                break
            a, b = one.split(), two.split()
            assert a[3:] == b[3:], name  # held or free, and the element
            step = np.array(a[:3], dtype=float) - np.array(b[:3], dtype=float)
            assert np.linalg.norm((step - np.round(step)) @ cells[0]) < SAME_ANG, (name, one, two)


def test_every_tag_is_reviewed_on_its_page(written: tuple[Path, Path]) -> None:
    _, golden = written
    assert list(golden.glob("*/INCAR"))
    assert not unreviewed(golden, ROOT / "docs" / "vasp-inputs.md")
