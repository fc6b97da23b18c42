"""What the pages and the help show of a cluster, executed on the one-machine SLURM with its database."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from epilayer.store.journal import open_database
from pages import DOCS, ROOT, blocks
from reading import Session, examples_of_help, needs_cluster
from terminal import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]
SMALL = "epilayer submit paper_adsorption --level toy --quick --set ligands=triazole --set facets=100"
MOVE_HERE = "sed -i 's/^queue: .*/queue: embedded/' epilayer.yaml"
MOVE_THERE = "sed -i 's/^queue: .*/queue: mycluster/' epilayer.yaml"
INSTEAD = {
    # VASP and LOBSTER are not on this machine, and the doctor says so.
    "epilayer cluster doctor": "epilayer cluster doctor || [ $? = 1 ]",
    "epilayer submit paper_adsorption --level paper": SMALL,
    # Given up at once: the drills follow jobs to their end.
    "epilayer cluster watch": "epilayer cancel f1 && epilayer cluster watch",
    # No job has failed.
    "epilayer rerun --class walltime --with walltime=48:00:00": (
        "epilayer rerun --class walltime --with walltime=48:00:00 || [ $? = 2 ]"
    ),
    "epilayer rerun --undo": "epilayer rerun --undo || [ $? != 0 ]",
    "epilayer submit paper_adsorption": f"{MOVE_HERE} && {SMALL}",
    "epilayer cluster launch --pilot mycluster --pilots 3 --workers 2": (
        "epilayer cluster launch --pilot mycluster --pilots 3 --workers 2 --dry-run"
    ),
}
IN_HELP = {
    "epilayer transfer mycluster": f"epilayer transfer mycluster && {MOVE_THERE}",
    "epilayer cluster doctor": INSTEAD["epilayer cluster doctor"],
    "epilayer cluster doctor --pilot mycluster --json": (
        "epilayer cluster doctor --pilot mycluster --json || [ $? = 1 ]"
    ),
    "epilayer cluster launch --pilot mycluster --pilots 3 --workers 2": (
        f"{MOVE_HERE} && epilayer cluster launch --pilot mycluster --pilots 3 --workers 2 --dry-run"
        f" && {MOVE_THERE}"
    ),
    "epilayer cluster watch": INSTEAD["epilayer cluster watch"],
    "epilayer rerun --class walltime --with walltime=48:00:00 --dry-run": (
        "epilayer rerun --class walltime --with walltime=48:00:00 --dry-run || [ $? = 2 ]"
    ),
}
PROFILE = """\
name: mycluster
title: the one-machine SLURM
source: slurm/dev/start
database: {database}
preamble: mine.sh
signal_ahead_s: 20
poll_s: 1
resources: {{tasks: 1, memory: 400M, walltime: "00:20:00", partition: debug}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """A study that knows the cluster and does not use it yet."""
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    database = f"{os.environ['EPILAYER_DEV_MONGO']}docs_{uuid.uuid4().hex[:10]}"
    preamble = f"export PYTHONPATH={ROOT / 'src'} PATH={os.path.dirname(sys.executable)}:$PATH\n"  # noqa: PTH120
    for name, text in (
        ("epilayer.yaml", "queue: embedded\n"),
        ("configs/clusters/mycluster.yaml", PROFILE.format(database=database)),
        ("slurm/mine.sh", preamble),
    ):
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "study" / name).write_text(text, encoding="utf-8")
    yield tmp_path / "study"
    opened = open_database(database)
    opened.client.drop_database(opened.name)
    opened.client.close()


def test_the_cluster_blocks_of_readme_and_page_do_what_they_show(study: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "none").mkdir()
    with Programs(tmp_path / "bin") as programs:
        programs.terminal(study).run(MOVE_THERE)
        session = Session(
            programs.terminal(study, SLURM_CONF=os.environ["SLURM_CONF"]), tmp_path / "none", INSTEAD
        )
        for page in (ROOT / "README.md", DOCS / "how-to" / "cluster.md"):
            for block in blocks(page):
                if block.marked("cluster") is not None:
                    session.run(block)
        assert not session.findings, "\n\n".join(session.findings)
        assert session.executed >= 8


def test_the_examples_of_the_help_run_there(study: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    with Programs(tmp_path / "bin") as programs:
        terminal = programs.terminal(study, SLURM_CONF=os.environ["SLURM_CONF"])
        assert terminal.run(SMALL).code == 0
        examples = [e for found in examples_of_help().values() for e in found if needs_cluster(e)]
        assert len(examples) >= 7
        for example in sorted(examples, key=lambda e: "transfer" not in e):  # it moves the study there
            said = terminal.run(IN_HELP.get(example, example))
            assert said.code == 0, f"{example}\n{said.text}"
