"""Results as an RO-Crate: what other programs read of it, what it refuses, and no byte changes unseen."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from rocrate.rocrate import ROCrate
from typer.testing import CliRunner

from bound_water import bound_water
from epilayer import Study
from epilayer.cli.root import app
from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.model.records import Provenance
from epilayer.store.records import document_of
from epilayer.store.ro_crate import CHECKSUMS
from epilayer.study.stored_files import write_study_checksums

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
title: A study
authors: [{name: Ada Lovelace, orcid: 0000-0001-2345-6789, affiliation: Analytical Engines}]
licence: CC-BY-4.0
"""


@pytest.fixture
def used(tmp_path: Path) -> Study:
    """A study of one result, with the file that a job left for it."""
    root = tmp_path / "study"
    folder = root / "runs" / "adslab" / "attempt-1"
    folder.mkdir(parents=True)
    (root / "epilayer.yaml").write_text(SETTINGS)
    (folder / "relaxation of a+b.log").write_text("energy\n" * 500)
    study = Study.open(root)
    files = {"relaxation of a+b.log": sha256_file(folder / "relaxation of a+b.log")}
    versions = {"chgnet": "0.4.2"}
    origin = Provenance(job="job", run_directory=str(folder), files=files, versions=versions)
    document = document_of(bound_water(origin), job="job", created="2025-01-01T00:00:00Z")
    with study.jobstore() as outputs:
        outputs.update([{"uuid": "other", "index": 1, "output": None}], key=["uuid", "index"])
    results = study.results()
    results.put([document])
    results.close()
    write_study_checksums(study, [document])
    return study


def run(study: Study, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["-C", str(study.root), "db", *arguments, "--json"])
    if done.exception is not None:
        raise done.exception
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_other_programs_read_the_number_its_level_author_licence_and_files(
    used: Study, tmp_path: Path
) -> None:
    assert run(used, "crate", str(tmp_path / "crate"))["results"] == 1
    read = ROCrate(tmp_path / "crate")
    root = read.root_dataset
    assert (root["name"], root["license"].id) == ("A study", "https://spdx.org/licenses/CC-BY-4.0")
    assert root["conformsTo"].id.startswith("https://w3id.org/ro/wfrun/process/")
    (author,) = root["author"]
    assert (author.id, author["affiliation"]["name"]) == (
        "https://orcid.org/0000-0001-2345-6789", "Analytical Engines",
    )  # fmt: skip
    (number,) = root["variableMeasured"]
    assert (number["value"], number["unitText"]) == (-0.39, "eV")
    assert number["minValue"] < -0.39 < number["maxValue"]
    assert "CHGNet" in number["measurementTechnique"]["name"]
    body = json.loads((tmp_path / "crate" / number["subjectOf"].id).read_text())["body"]
    assert body["adsorption_energy_ev"] == -0.39
    entity = next(e for e in read.data_entities if e["name"] == "relaxation of a+b.log")
    assert entity["sha256"] == sha256_file(next(used.runs.rglob("*+b.log")))
    assert "Deng, Bowen" in (tmp_path / "crate" / "citations.bib").read_text()
    if shutil.which("sha256sum"):  # anybody can check it, without epilayer
        subprocess.run(["sha256sum", "-c", "--quiet", CHECKSUMS], cwd=tmp_path / "crate", check=True)


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_a_changed_missing_or_foreign_file_is_named(used: Study, tmp_path: Path, name: str) -> None:
    made = tmp_path / name
    count = run(used, "crate", str(made))["files"]
    assert run(used, "check", str(made)) == {"sound": True, "files": count}
    whole = made
    if name.endswith(".zip"):
        shutil.unpack_archive(made, tmp_path / "open")
        whole = tmp_path / "open"
    chance = random.Random(7)  # noqa: S311  (chooses places)
    for path in sorted(p for p in whole.rglob("*") if p.is_file()):
        data = path.read_bytes()
        place = chance.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(InputError, match=r"is not what was written|is missing|not as it was written"):
            run(used, "check", str(whole))
        path.write_bytes(data)
    (whole / "foreign.txt").write_text("?")
    with pytest.raises(InputError, match=r"foreign\.txt is not what was written"):
        run(used, "check", str(whole))
    (whole / "foreign.txt").unlink()
    (whole / "ro-crate-metadata.json").rename(whole / "moved.json")
    with pytest.raises(InputError, match=r"moved\.json|missing"):
        run(used, "check", str(whole))


def test_it_refuses_without_author_licence_or_sound_files_and_writes_nothing(
    used: Study, tmp_path: Path
) -> None:
    out = tmp_path / "crate"
    next(used.runs.rglob("*.log")).write_text("other")
    with pytest.raises(InputError, match="then write the crate"):
        run(used, "crate", str(out))
    (used.root / "epilayer.yaml").write_text("authors: [{name: Ada Lovelace}]\n")
    with pytest.raises(InputError, match=r"then write the crate|names no licence"):
        run(used, "crate", str(out))
    (used.root / "epilayer.yaml").write_text("licence: CC BY\n")
    with pytest.raises(InputError, match="licence"):
        run(used, "crate", str(out))
    assert not out.exists()
    out.mkdir()
    with pytest.raises(InputError):
        run(used, "crate", str(out))
    assert list(out.iterdir()) == []
