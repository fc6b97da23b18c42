"""A study that an earlier version made (``tests/data/before``): it opens, answers the same, and goes on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from epilayer.model.kinds import KINDS
from epilayer.store.checksums import check_database
from epilayer.store.filters import parse_filter
from epilayer.store.records import document_of, record_of
from epilayer.store.results import open_results

BEFORE = Path(__file__).parents[1] / "data" / "before"
PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]
ANSWERS: dict[str, list[dict[str, Any]]] = json.loads((BEFORE / "answers.json").read_text())


def unpacked(folder: Path) -> Path:
    with tarfile.open(BEFORE / "study.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("before"))


def as_json(study: Path, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401  (any JSON)
    done = subprocess.run(
        [*PROGRAM, "-C", str(study), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_every_kind_gives_the_answers_that_the_earlier_version_gave(study: Path, kind: str) -> None:
    results = open_results(study / ".epilayer" / "results.sqlite")
    try:
        found = results.query(kind, limit=None, body=True)
        for record in found:
            assert results.get(record["id"]) == record
            for name, value in record["fields"].items():
                if isinstance(value, float | bool):
                    same = [parse_filter(f"{name}={json.dumps(value)}")]
                    assert record["id"] in {r["id"] for r in results.query(kind, same, fields=())}
        assert results.damaged() == []
    finally:
        results.close()
    assert [
        {
            "id": record["id"],
            "created": record["created"],
            "fields": record["fields"],
            "body_sha256": hashlib.sha256(json.dumps(record["body"], sort_keys=True).encode()).hexdigest(),
        }
        for record in found
    ] == ANSWERS[kind]
    for record in found:  # and a record that is made again gets the same id and the same fields
        again = document_of(record_of(record), created=record["created"], job=record["fields"].get("job"))
        added = again["fields"].keys() - record["fields"].keys()
        assert {again["fields"][name] for name in added} <= {None}
        same = {name: again["fields"][name] for name in record["fields"]}
        assert (again["id"], same) == (record["id"], record["fields"])


def test_no_kind_of_the_study_was_lost() -> None:
    assert set(ANSWERS) <= set(KINDS)


def test_the_results_file_is_whole_after_it_was_opened(tmp_path: Path) -> None:
    file = unpacked(tmp_path) / ".epilayer" / "results.sqlite"
    open_results(file).close()
    assert check_database(file).damage is None


def test_finished_jobs_are_found_and_unfinished_ones_run_to_their_end(tmp_path: Path) -> None:
    study = unpacked(tmp_path)
    again = ("paper_adsorption", "--level", "toy", "--quick", "--set", "ligands=triazole")
    submitted = as_json(study, "submit", *again, "--json")
    # Searches are done by another rule since, and reports judge more: two of each and their verdict are new;
    # the clean slabs and the molecule are found.
    assert len(submitted["new"]) == 5
    # Six jobs were waiting, their engines named by modules that are elsewhere now; they make seven more.
    # The five new ones make another eight.
    counts = as_json(study, "run", "--json", code=3)["run"]["counts"]
    assert {state: number for state, number in counts.items() if number} == {"COMPLETED": 56, "FAILED": 1}
    (ranking,) = {
        row["ranking"]
        for row in as_json(study, "query", "competition", "--format", "json", "--where", "job!=null")
    } - {record["fields"]["ranking"] for record in ANSWERS["competition"]}
    assert set(ranking.split(",")) == {"triazole", "water"}
