"""Results as one file: what goes out comes in, twice changes nothing, and a changed byte is refused."""

from __future__ import annotations

import json
import random
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from bound_water import bound_water
from epilayer import Study
from epilayer.cli.root import app
from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.model.records import Provenance
from epilayer.store import records as store_records
from epilayer.store.archive import close_with_digest, open_archive
from epilayer.store.records import document_of, record_of
from epilayer.store.results import SqliteResults
from epilayer.study.stored_files import write_study_checksums
from epilayer.study.verifying import verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def used(tmp_path: Path) -> Study:
    root = tmp_path / "from"
    folder = root / "runs" / "a" / "attempt-1"
    folder.mkdir(parents=True)
    (root / "epilayer.yaml").touch()
    (folder / "log.txt").write_text("energy\n" * 500)
    made = Study.open(root)
    files = {"log.txt": sha256_file(folder / "log.txt")}
    provenance = Provenance(job="job", run_directory=str(folder), files=files)
    document = document_of(bound_water(provenance), job="job", created="2025-01-01T00:00:00Z")
    with made.jobstore() as outputs:
        outputs.update([{"uuid": "job", "index": 1, "output": {"x": float("nan")}}], key=["uuid", "index"])
    results = made.results()
    results.put([document])
    results.close()
    write_study_checksums(made, [document])
    return made


def run(study: Study, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["-C", str(study.root), "db", *arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def other(tmp_path: Path) -> Study:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "epilayer.yaml").touch()
    return Study.open(tmp_path / "to")


def test_what_goes_out_comes_in_and_twice_changes_nothing(used: Study, tmp_path: Path) -> None:
    file = tmp_path / "results.zip"
    assert run(used, "export", str(file)) == {"records": 1, "files": 1, "files_outside_the_study": 0}
    assert run(used, "check", str(file)) == {"sound": True, "records": 1, "outputs": 1, "files": 1}
    used.root.rename(tmp_path / "gone")
    target = other(tmp_path)
    assert run(target, "import", str(file)) == {"added": 1, "changed": 0, "unchanged": 0, "files": 1}
    assert run(target, "import", str(file)) == {"added": 0, "changed": 0, "unchanged": 1, "files": 0}
    found = verify(target)
    assert (found.damages, found.records, found.numbers) == ([], 1, 1)
    with target.jobstore() as outputs:
        (document,) = outputs.query({"uuid": "job"})
        assert document["output"]["x"] != document["output"]["x"]
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("manifest.json"))["format"] == 1


def test_a_changed_byte_of_an_archive_never_comes_in_unseen(used: Study, tmp_path: Path) -> None:
    file = tmp_path / "results.zip"
    run(used, "export", str(file))
    whole = file.read_bytes()
    with open_archive(file) as archive:
        before = list(archive.table("records"))
    chance = random.Random(7)  # noqa: S311  (chooses places)
    for _ in range(200):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        with pytest.raises(InputError), open_archive(file):
            pass
    file.write_bytes(whole)
    with open_archive(file) as archive:
        assert list(archive.table("records")) == before


def test_damaged_results_stay_and_paths_out_of_the_study_are_refused(used: Study, tmp_path: Path) -> None:
    file = tmp_path / "results.zip"
    run(used, "export", str(file))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["files.jsonl"] = members["files.jsonl"].replace(b"a/attempt-1", b"../../x")
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = b"0" * 64
    close_with_digest(file)
    with pytest.raises(InputError, match="outside the study"):
        run(other(tmp_path), "import", str(file))
    next(used.runs.rglob("log.txt")).write_text("other")
    with pytest.raises(InputError, match=r"log\.txt"):
        run(used, "export", str(tmp_path / "second.zip"))
    assert not (tmp_path / "second.zip").exists()


def test_a_document_of_an_older_schema_is_brought_up(monkeypatch: pytest.MonkeyPatch) -> None:
    document = document_of(bound_water(Provenance(job="", run_directory="")), created="2025-01-01T00:00:00Z")
    body = dict(document["body"])
    body["molecule"] = body.pop("ligand")

    def rename(kind: str, old: dict[str, Any]) -> dict[str, Any]:
        assert kind == "adsorption"
        return {**{k: v for k, v in old.items() if k != "molecule"}, "ligand": old["molecule"]}

    monkeypatch.setattr(store_records, "UPGRADES", (rename,))
    monkeypatch.setattr(store_records, "SCHEMA_VERSION", 2)
    assert record_of({**document, "body": body}).ligand == "water"


def test_a_results_file_of_the_first_version_is_brought_up(used: Study) -> None:
    with closing(sqlite3.connect(used.results_file)) as raw, raw:
        kinds = raw.execute("SELECT DISTINCT in_table FROM field").fetchall()
        for table in (*(name for (name,) in kinds), "field", "written"):
            raw.execute(f'DROP TABLE "{table}"')
        raw.execute("DROP INDEX record_by_kind")
        raw.execute("CREATE INDEX record_newest ON record (kind, created DESC, id)")
        raw.execute("CREATE TABLE field (field INTEGER PRIMARY KEY, kind TEXT, name TEXT)")
        raw.execute("CREATE TABLE facet (field INTEGER, value, pk INTEGER)")
        raw.execute("ALTER TABLE payload DROP COLUMN sha256")
        raw.execute("PRAGMA user_version = 1")
    results = SqliteResults(used.results_file)
    assert results.kinds() == {"adsorption": 1}
    assert results.damaged() == []
    results.close()
