"""Sphinx configuration of the documentation."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

project = "epilayer"
author = "The epilayer developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "epilayer"
html_show_copyright = False
# Built and read offline: no fonts or scripts from elsewhere.
html_static_path: list[str] = []
# Every reference is checked, but for those to other projects: their inventories are on the network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!epilayer\b).*"),
    ("py:class", r"epilayer\.(model|trajectory\.hdf5)\..*"),  # their keys are in reference/configs.md
]
napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True


def setup(app: Any) -> None:
    """Make the pages that come from the code before Sphinx looks for its sources."""
    app.connect("builder-inited", lambda _: generate.write(HERE / "reference"))
