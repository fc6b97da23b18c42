"""Stills and charts: small, the same bytes each time, whole, and legible without colour."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from pymatgen.core import Structure

from epilayer.report import canvas, charts, pictures, scenes, style, tables

MINUS = "\N{MINUS SIGN}"
SVG = "{http://www.w3.org/2000/svg}"


def test_importing_the_room_loads_no_matplotlib() -> None:
    code = (
        "import sys, epilayer.report.html, epilayer.report.tables; "
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'jinja2', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_same_structure_same_bytes_and_small(make: Any, form: canvas.Form) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    first, second = (pictures.still(structure, atoms, form=form) for _ in range(2))
    assert first == second
    assert len(first) <= 200_000
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form])


def test_svg_carries_no_date_metadata_or_comment(make: Any) -> None:  # noqa: ANN401
    text = pictures.still(*make.adslab()).decode()
    assert ET.fromstring(text).tag == f"{SVG}svg"  # noqa: S314  (our own text)
    for word in ("<metadata", "<!--", "date", "http://matplotlib"):
        assert word not in text


def test_contact_and_held_atoms_are_told_in_words(make: Any) -> None:  # noqa: ANN401
    words = pictures.describe(*make.adslab())
    assert "8 of them held" in words
    assert "N to V, 2.20 angstrom" in words


def test_a_molecule_cut_by_the_cell_is_drawn_like_one_that_is_not(make: Any) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    moved = structure.copy()
    moved.translate_sites(list(range(len(moved))), [0.5, 0.5, 0.62], to_unit_cell=True)
    assert pictures.describe(moved, atoms) == pictures.describe(structure, atoms)
    views = [scenes.scene_of(scenes.atoms_of(s, atoms), "side") for s in (structure, moved)]
    spans = [np.ptp(s.points[s.ads], axis=0) for s in views]
    assert spans[0] == pytest.approx(spans[1], abs=1e-6)
    assert max(spans[0]) < 4


def test_polyhedra_are_whole_and_each_atom_stands_once(make: Any) -> None:  # noqa: ANN401
    structure, atoms = make.adslab()
    whole = scenes.atoms_of(structure, atoms)
    for view in ("side", "top"):
        scene = scenes.scene_of(whole, view)
        gaps = np.linalg.norm(scene.points[:, None] - scene.points[None], axis=2)
        assert gaps[np.triu_indices(len(gaps), 1)].min() > 0.5
        assert scene.contact_ang == pytest.approx(2.2)
        bonded = {k for pair in scene.bonds for k in pair}
        for k, symbol in enumerate(scene.symbols):
            assert symbol != "V" or k in bonded
        assert sum(scene.ads) == len(atoms)


def test_an_oblique_cell_and_adsorbate_atoms_in_front(make: Any) -> None:  # noqa: ANN401
    structure, _ = make.adslab()
    matrix = np.array(structure.lattice.matrix)
    matrix[1] += 0.3 * matrix[0]
    order = [*range(16, 20), *range(16)]
    oblique = Structure(
        matrix,
        [structure[k].specie for k in order],
        [structure[k].coords for k in order],
        coords_are_cartesian=True,
    )
    assert "N to V" in pictures.describe(oblique, (0, 1, 2, 3))
    assert pictures.still(oblique, (0, 1, 2, 3), views=("top",), width_in=3.5)


def test_circles_are_compressed_and_stay_where_they_were() -> None:
    arcs = canvas._CIRCLE.sub(
        canvas._circle,
        '<path d="M 20 10 C 20 4.48 15.52 0 10 0 C 4.48 0 0 4.48 0 10 C 0 15.52 4.48 20 10 20 '
        'C 15.52 20 20 15.52 20 10 z" style="fill: #fff"/>',
    )
    assert arcs == '<circle cx="10.00" cy="10.00" r="10.00" style="fill: #fff"/>'
    other = '<path d="M 20 10 C 1 2 3 4 5 6 C 4 0 0 4 0 10 C 0 15 4 20 10 20 C 15 20 20 15 20 10 z"'
    assert canvas._CIRCLE.sub(canvas._circle, other) == other


def test_two_inlined_pictures_share_no_identifier(make: Any) -> None:  # noqa: ANN401
    svg = pictures.still(*make.adslab())
    pages = [canvas.inline(svg, prefix, 'a "title" <b>', themed=False) for prefix in ("a", "b")]
    names = [{e.get("id") for e in ET.fromstring(p).iter() if e.get("id")} for p in pages]  # noqa: S314
    assert names[0]
    assert not names[0] & names[1]
    assert 'aria-label="a &#34;title&#34; &lt;b&gt;"' in pages[0]


def test_interval_figure_names_refusals_and_survives_odd_names(make: Any) -> None:  # noqa: ANN401
    records = [*make.study(), make.adsorption(ligand=r"$\frac{<script>--><b>")]
    rows = tables.compare(records, (), make.paper()).adsorption
    for width_in in (style.WIDE_IN, style.NARROW_IN):
        svg = charts.interval_figure(rows, threshold_ev=-0.2, width_in=width_in)
        assert svg == charts.interval_figure(rows, threshold_ev=-0.2, width_in=width_in)
        assert b"<script" not in svg
        assert len(svg) < 150_000
    assert "-0.68 to +0.03 eV, published -0.51" in charts.describe_intervals(rows, -0.2).replace(MINUS, "-")


def test_interval_figure_of_nothing_computed(make: Any) -> None:  # noqa: ANN401
    rows = tables.compare([], (), make.paper()).adsorption
    assert charts.interval_figure(rows, form="png").startswith(b"\x89PNG")
    assert charts.interval_figure((), form="png").startswith(b"\x89PNG")


def test_relaxation_figure(make: Any) -> None:  # noqa: ANN401
    calculation = make.relaxation()
    assert charts.relaxation_figure(calculation) == charts.relaxation_figure(calculation)
    still = calculation.model_copy(
        update={"energies_ev": (-1.0,), "max_forces_ev_per_ang": (0.0,), "force_target_ev_per_ang": None}
    )
    assert charts.relaxation_figure(still, form="png").startswith(b"\x89PNG")
    assert "37 steps" in charts.describe_relaxation(calculation)


# Machado, Oliveira, Fernandes (2009), doi 10.1109/TVCG.2009.113: full deficiency, linear RGB.
_SEEN = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def _lab(colour: str, seen: Any) -> np.ndarray:  # noqa: ANN401
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(seen) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", _SEEN)
def test_elements_and_the_first_levels_keep_apart_for_every_sight(sight: str) -> None:
    # Levels also differ by their marker, elements by size and place only.
    for colours, apart in (
        (style.ELEMENTS.values(), 14),
        (style.SERIES[:3], 10),
        (style.SERIES_ON_DARK[:3], 10),
    ):
        seen = [_lab(c, _SEEN[sight]) for c in colours]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > apart


def test_colours_of_other_elements_and_mixing() -> None:
    assert style.element_colour("Zn").startswith("#")
    assert style.mixed("#000000", "#ffffff", 0.5) == "#808080"
    assert len(set(style.MARKERS)) == len(style.SERIES) == len(style.SERIES_ON_DARK)
