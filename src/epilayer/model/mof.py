"""A metal-organic framework as data: its crystal and where the numbers come from."""

from __future__ import annotations

from pydantic import Field

from epilayer.model.base import Frozen
from epilayer.model.cathode import Crystal


class Mof(Frozen):
    """A metal-organic framework; its crystal must be ordered."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    formula: str
    title: str = ""
    source: str = Field(min_length=20, description="free text with DOI and provenance")
    crystal: Crystal
