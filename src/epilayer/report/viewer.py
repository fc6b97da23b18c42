"""Pictures that the reader turns: 3Dmol.js (doi 10.1093/bioinformatics/btu829), shipped, nothing loaded.

A page carries the library once; each picture adds a few kilobytes of coordinates. The still stands
in its place until it is turned, and stays where there is no JavaScript or no WebGL.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.report import canvas, pictures, scenes, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core.structure import Structure

_LIBRARY: Final = "3Dmol-2.5.5.min.js"
_OURS: Final = "viewer.js"
_HELD_FADE: Final = 0.55
_CSS: Final = """
.still svg { display: block; width: 100%; height: auto; }
.view .tools { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 0; font-size: .9rem; }
.view button { font: inherit; padding: .25rem .8rem; border: 1px solid var(--muted, #5b636d);
  border-radius: .4rem; background: var(--panel, #fff); color: var(--ink, #1f2328); cursor: pointer; }
.view button:hover { border-color: var(--link, #0a58a8); color: var(--link, #0a58a8); }
.view button:focus-visible, .view .stage:focus-visible {
  outline: 2px solid var(--link, #0a58a8); outline-offset: 2px; }
.view .whenlive { display: none; }
.view.live .whenlive { display: inline-block; }
.view .stage { position: relative; width: 100%; height: min(30rem, 70vh); border-radius: .5rem;
  overflow: hidden; background: #fff; touch-action: none; }
@media print { .view .tools { display: none; } }
"""
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
:root {{ --ground: #f5f6f8; --panel: #fff; --ink: #1f2328; --muted: #5b636d; --rule: #d0d5db; --link: #0a58a8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #14171b; --panel: #1c2026; --ink: #e7eaee; --muted: #a3adb8; --rule: #3a424c; --link: #8ec2ff; }}
}}
* {{ box-sizing: border-box; }}
html {{ font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: var(--ink); background: var(--ground); }}
body {{ margin: 0 auto; max-width: 62rem; padding: 1.2rem 1rem 2rem; }}
h1 {{ font-size: 1.35rem; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere; }}
.still {{ background: #fff; border-radius: .5rem; padding: .5rem; overflow-x: auto; }}
ul.legend {{ display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; padding: 0; margin: .8rem 0; }}
ul.legend span {{ display: inline-block; width: .85em; height: .85em; border-radius: 50%; border: 1px solid var(--muted); margin-right: .35em; vertical-align: -.08em; }}
dl {{ display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.2rem; margin: 1rem 0 0; font-size: .94rem; }}
dt {{ color: var(--muted); }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
@media (max-width: 30rem) {{ dl {{ grid-template-columns: 1fr; gap: 0; }} dd {{ margin-bottom: .5rem; }} .still svg {{ width: 36rem; }} }}
{css}
</style>
</head>
<body data-start="3d">
<h1>{title}</h1>
{block}
<ul class="legend" aria-label="Elements">{legend}</ul>
{facts}
{scripts}
</body>
</html>
"""  # noqa: E501


def page(
    structure: Structure,
    chosen_atoms: Sequence[int] = (),
    *,
    title: str,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Return one HTML file that turns a structure; it opens offline and loads nothing.

    Parameters
    ----------
    structure, chosen_atoms
        As in :func:`epilayer.report.pictures.still`.
    title
        Heading of the page.
    facts
        What is written below the picture, by name.
    """
    from markupsafe import Markup, escape

    atoms = scenes.atoms_of(structure, chosen_atoms)
    legend = Markup("").join(
        Markup('<li><span style="background: {}"></span>{}</li>').format(style.element_colour(s), s)
        for s in pictures.legend(atoms.symbols)
    )
    if atoms.held.any():
        legend += Markup("<li>paler: held in place</li>")
    rows = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(k, v) for k, v in (facts or {}).items())
    return _PAGE.format(
        policy=policy(),
        title=escape(title),
        css=css(),
        block=block("view-1", structure, chosen_atoms),
        legend=legend,
        facts=f"<dl>{rows}</dl>" if facts else "",
        scripts=scripts(),
    )


def block(identifier: str, structure: Structure, chosen_atoms: Sequence[int] = ()) -> str:
    """Return the element that shows one structure: its still, and what is needed to turn it.

    Parameters
    ----------
    identifier
        Unique in the page.
    structure, chosen_atoms
        As in :func:`epilayer.report.pictures.still`.
    """
    from markupsafe import escape

    words = pictures.describe(structure, chosen_atoms)
    svg = canvas.inline(pictures.still(structure, chosen_atoms), identifier, words, themed=False)
    drawn = data(structure, chosen_atoms)
    return (
        f'<div class="view" data-view="{escape(identifier)}-data" data-label="{escape(words)}">'
        f'<div class="still scroll" tabindex="0" role="region" aria-label="Picture">{svg}</div>'
        f'<script type="application/json" id="{escape(identifier)}-data">{drawn}</script></div>'
    )


def data(structure: Structure, chosen_atoms: Sequence[int] = ()) -> str:
    """Return what the viewer draws of a structure, as JSON that may stand inside a script element."""
    # "<" would let a text end the element; JSON may write it as an escape.
    return json.dumps(_data(structure, chosen_atoms), separators=(",", ":")).replace("<", "\\u003c")


def css() -> str:
    """Return the rules of style that :func:`block` needs."""
    return _CSS.strip()


def scripts() -> str:
    """Return the script elements that a page with blocks ends with: the library, once, and ours."""
    return "\n".join(f"<script>{_script(name)}</script>" for name in (_LIBRARY, _OURS))


def policy() -> str:
    """Return the content security policy of such a page: these two scripts run, nothing is loaded."""
    digests = (
        base64.b64encode(hashlib.sha256(_script(n).encode()).digest()).decode() for n in (_LIBRARY, _OURS)
    )
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}"


@cache
def _script(name: str) -> str:
    text = (files("epilayer.report") / "assets" / name).read_text(encoding="utf-8")
    # Line ends are counted as the browser counts them, or the hash would not be that of the script.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _data(structure: Structure, chosen_atoms: Sequence[int]) -> dict[str, Any]:
    """Return what the viewer draws: atoms by kind, sticks, edges of the cell and the closest contact."""
    atoms = scenes.atoms_of(structure, chosen_atoms)
    scene = scenes.scene_of(atoms, "side", whole=True)
    looks: dict[tuple[str, bool, bool], dict[str, Any]] = {}
    kinds = []
    for symbol, ads, held, size in zip(scene.symbols, scene.ads, scene.held, scene.size, strict=True):
        key = (symbol, bool(ads), bool(held))
        if key not in looks:
            colour = style.element_colour(symbol)
            looks[key] = {
                "number": len(looks),
                "elem": symbol,
                "color": style.mixed(colour, style.PAPER, _HELD_FADE) if held else colour,
                "radius": round(float(size), 2),
                "stick": 0.12 if ads else 0.08,
            }
        kinds.append(looks[key]["number"])
    contact = None
    if scene.contact is not None:
        contact = [*scene.contact, f"{scene.contact_ang:.2f} Å"]
    return {
        "looks": [{k: v for k, v in look.items() if k != "number"} for look in looks.values()],
        "kinds": kinds,
        "xyz": [round(float(x), 2) + 0.0 for x in scene.points.ravel()],
        "bonds": [list(pair) for pair in scene.bonds],
        "edges": [np.round(line, 2).tolist() for line in scene.outline],
        "contact": contact,
    }
