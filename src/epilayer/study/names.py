"""Names that the command line needs before a study is opened: nothing heavy is imported here."""

from __future__ import annotations

from enum import StrEnum

STUDY_FILE = "epilayer.yaml"
EMBEDDED = "embedded"
IMPORT_JOURNAL = "imported.jsonl"
"""What an import has read, in the study's own folder."""


class Keeper(StrEnum):
    """What starts the launcher."""

    SYSTEMD = "systemd"
    CRON = "cron"
