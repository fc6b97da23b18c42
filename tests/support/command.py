"""The command line, run in the test's own process."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from epilayer.cli import main
from epilayer.cli.common import state

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., "Said"]


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401  (any JSON)
        return json.loads(self.out)


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *before: object) -> Run:
    """Return what runs ``epilayer``, the words ``before`` ahead of those it is given.

    What is not turned into a message fails the test with its traceback.
    """
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("EPILAYER_STUDY", "EPILAYER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(state, "study_path", None)
    monkeypatch.setattr(state, "debug", False)

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["epilayer", *map(str, (*before, *arguments))])
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        return Said(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return call
