"""Results in MongoDB beyond the contract: several writers, damage, and the one word of configuration."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import epilayer.study.results
from epilayer.cli.root import app
from epilayer.model.errors import InputError
from epilayer.store.journal import open_database
from epilayer.store.mongo_results import COLLECTION, MongoResults
from epilayer.store.results import Record
from queue_rig import database_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

# Every writer stores the same ids, with contents of its own, in an order of its own.
WRITER = """
import random, sys
from epilayer.store.mongo_results import MongoResults
uri, me = sys.argv[1], int(sys.argv[2])
results = MongoResults(uri)
names = list(range(40))
random.Random(me).shuffle(names)
counts = [0, 0, 0]
for start in range(0, 40, 10):
    done = results.put([{"kind": "adsorption", "id": f"r{n}", "schema_version": 1,
        "created": f"2025-01-0{me}", "fields": {"writer": me}, "body": {"writer": me}}
        for n in names[start:start + 10]])
    counts = [a + b for a, b in zip(counts, done)]
print(*counts)
"""


@pytest.fixture
def uri() -> Iterator[str]:
    address = f"{database_server()}epilayer_{uuid.uuid4().hex[:12]}"
    yield address
    database = open_database(address)
    database.client.drop_database(database.name)
    database.client.close()


def record(identity: str, **fields: str | float) -> Record:
    return Record(
        kind="adsorption",
        id=identity,
        created="2025-01-01",
        schema_version=1,
        fields=dict(fields),
        body={"of": identity},
    )


def test_four_writers_of_the_same_records_leave_each_whole_and_count_each_once(uri: str) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, uri, str(me)], stdout=subprocess.PIPE, text=True)
        for me in (1, 2, 3, 4)
    ]
    counts = [tuple(map(int, one.communicate(timeout=120)[0].split())) for one in running]
    assert [one.returncode for one in running] == [0, 0, 0, 0]
    assert sum(added for added, _, _ in counts) == 40
    assert sum(map(sum, counts)) == 160
    results = MongoResults(uri)
    found = results.query("adsorption", limit=None, body=True)
    assert len(found) == 40
    assert all(one["fields"]["writer"] == (one.get("body") or {})["writer"] for one in found)
    assert results.damaged() == []
    results.close()


def test_a_document_changed_by_another_hand_is_named(uri: str) -> None:
    results = MongoResults(uri)
    results.put([record(f"r{n}", facet="100", energy_ev=-0.1 * n) for n in range(6)])
    documents = open_database(uri)[COLLECTION]
    documents.update_one({"_id": "r1"}, {"$set": {"fields.energy_ev": -9.0}})
    documents.update_one({"_id": "r2"}, {"$set": {"created": "2020-01-01T00:00:00.000+00:00"}})
    documents.update_one({"_id": "r3"}, {"$unset": {"body": ""}})
    assert results.damaged() == [f"record r{n} is not what was written" for n in (1, 2, 3)]
    documents.database.client.close()
    results.close()


def test_a_record_that_no_document_can_hold_is_refused_and_the_others_with_it(uri: str) -> None:
    results = MongoResults(uri)
    with pytest.raises(InputError, match="The result large has 16 MB"):
        results.put([record("small"), {**record("large"), "body": {"text": "x" * 2**24}}])
    assert results.kinds() == {}
    results.close()


def test_one_word_of_configuration_moves_the_results(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_RESULTS", uri.removeprefix("mongodb://"))
    (tmp_path / "epilayer.yaml").write_text("store: mongodb://${MY_RESULTS}\n")
    results = MongoResults(uri)
    results.put(
        [
            record("a", facet="100", ligand="triazole", adsorption_energy_ev=-0.58),
            record("b", facet="001", ligand="triazole", adsorption_energy_ev=-0.51),
        ]
    )
    results.close()
    asked = ["-C", str(tmp_path), "query", "adsorption", "--where", "facet=100", "--format", "json"]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    assert [one["id"] for one in json.loads(answer.stdout)] == ["a"]
    with epilayer.study.results.open(tmp_path) as opened:
        assert list(opened.query("adsorption", sort="adsorption_energy_ev")["facet"]) == ["100", "001"]
    assert not (tmp_path / ".epilayer" / "results.sqlite").exists()
