"""The results of a real ``make demo``, as recorded: put into the study in the current folder."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from epilayer.store.results import open_results

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo-records.json.gz"


def put_demo_results(study: Path) -> None:
    """Put the recorded results into a study."""
    (study / ".epilayer").mkdir(exist_ok=True)
    results = open_results(study / ".epilayer" / "results.sqlite")
    results.put(json.loads(gzip.decompress(DEMO.read_bytes())))
    results.close()


if __name__ == "__main__":
    put_demo_results(Path())
