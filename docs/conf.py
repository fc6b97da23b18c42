"""Sphinx configuration of the documentation."""

project = "epilayer"
author = "The epilayer developers"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "epilayer"
# Built and read offline: no fonts or scripts from elsewhere.
html_static_path: list[str] = []
nitpicky = True
