"""Pictures that turn: whole, offline, small, shipped with their licence, and a still where nothing turns."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.errors import InputError
from epilayer.report import pictures, scenes, viewer
from epilayer.study import pictures as pictures_of

if TYPE_CHECKING:
    from pathlib import Path


def rock_salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])


def test_the_library_is_shipped_with_its_licence_and_can_stand_inside_a_page() -> None:
    assets = files("epilayer.report") / "assets"
    library = (assets / viewer._LIBRARY).read_text(encoding="utf-8")
    assert 400_000 < len(library) < 700_000
    assert not re.search(r"</script|<!--", library)
    assert "BSD-3-Clause" in (assets / "3Dmol-LICENSE.txt").read_text(encoding="utf-8")


def test_the_page_holds_the_still_the_data_and_no_address_to_load(make: Any) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    text = viewer.page(structure, atoms, title="<b>x</b>", facts={"a <i>": "</script>"})
    shown = text
    for name in (viewer._LIBRARY, viewer._OURS):
        assert viewer._script(name) in text
        shown = shown.replace(viewer._script(name), "")
    assert "<svg" in shown
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:", shown)
    assert "<b>x" not in shown
    assert "a &lt;i&gt;" in shown
    assert len(shown) < 150_000
    assert text == viewer.page(structure, atoms, title="<b>x</b>", facts={"a <i>": "</script>"})


def test_the_data_are_the_atoms_of_the_structure(make: Any) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    found = re.search(
        r'<script type="application/json" id="v-data">(.*?)</script>', viewer.block("v", structure, atoms)
    )
    assert found
    data = json.loads(found.group(1))
    assert len(data["xyz"]) == 3 * len(data["kinds"])
    points = np.array(data["xyz"]).reshape(-1, 3)
    first, second, length = data["contact"]
    assert length == "2.20 Å"
    assert np.linalg.norm(points[first] - points[second]) == pytest.approx(2.2, abs=0.02)
    colours = {(look["elem"], look["color"]) for look in data["looks"]}
    assert len([c for e, c in colours if e == "V"]) == 2  # held vanadium is paler
    assert all(0 <= i < len(points) and 0 <= j < len(points) for i, j in data["bonds"])


def test_a_crystal_shows_its_whole_cell_and_atoms_on_its_edges_on_both_sides() -> None:
    scene = scenes.scene_of(scenes.atoms_of(rock_salt(), ()), "side", whole=True)
    assert len(scene.outline) == 12
    assert sum(s == "Na" for s in scene.symbols) == 14
    assert scene.contact is None
    assert pictures.describe(rock_salt()) == "A crystal of 8 atoms."


def test_guests_stand_in_one_piece_and_in_front_of_the_framework() -> None:
    cage = Structure(
        Lattice.cubic(9.0),
        ["Zn", "O", "C", "O"],
        [[0, 0, 0], [0.2, 0, 0.5], [0.95, 0.5, 0.5], [0.08, 0.5, 0.5]],
    )
    atoms = scenes.atoms_of(cage, (2, 3))
    assert np.linalg.norm(atoms.coords[2] - atoms.coords[3]) == pytest.approx(1.17)
    scene = scenes.scene_of(atoms, "top")
    assert scene.points[scene.ads, 2].min() > scene.points[~scene.ads, 2].max()
    assert pictures.describe(cage, (2, 3)) == "A crystal of 2 atoms, with 2 atoms of guests."


def test_a_bare_slab_is_seen_from_the_side_that_lines_its_atoms_up(make: Any) -> None:  # noqa: ANN401
    slab = make.adslab()[0].copy()
    slab.remove_sites(range(16, 20))
    assert pictures.describe(slab) == "A slab of 16 atoms, 8 of them held in place."
    assert pictures.still(slab, form="png").startswith(b"\x89PNG")


def test_draw_writes_what_was_asked_for(make: Any, tmp_path: Path) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    png, html = tmp_path / "x.png", tmp_path / "sub" / "x.html"
    assert pictures_of.draw(structure, png=png, html=html, chosen_atoms=atoms) == [png, html]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert pictures_of.draw(structure) == []


@pytest.mark.parametrize(
    ("png", "html", "said"), [("x.gif", None, "Name it .png"), (None, "x.txt", "Name it .html")]
)
def test_a_name_of_no_known_format_is_refused_and_nothing_written(
    png: str | None, html: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        pictures_of.draw(
            rock_salt(), png=tmp_path / png if png else None, html=tmp_path / html if html else None
        )
    assert not list(tmp_path.iterdir())


def test_a_disordered_structure_is_not_drawn(tmp_path: Path) -> None:
    partial = Structure(Lattice.cubic(4), [{"Na": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="partly occupied"):
        pictures_of.draw(partial, png=tmp_path / "x.png")
