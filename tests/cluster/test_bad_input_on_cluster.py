"""Bad input to a cluster, judged by the real scheduler and database: one clear error each, and a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import drill_jobs
from cluster_rig import ClusterStudy, dev_folder, mounted, tmpfs, until
from jobflow import Flow

from epilayer.launch.base import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]
SECRET = "s3cr3t-w0rd"  # noqa: S105 - of nobody


@pytest.fixture
def study(tmp_path: Path) -> Iterator[ClusterStudy]:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    made = ClusterStudy(tmp_path)
    yield made
    made.close()


def submitted(study: ClusterStudy, name: str = "work j0") -> None:
    job = drill_jobs.work("j0", str(study.folder))
    job.name = name
    study.queue.submit(Flow([job], name="one"))
    study.go(["j0"])


def change(study: ClusterStudy, old: str, new: str) -> None:
    file = study.folder / "configs" / "clusters" / "drill.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def profile(study: ClusterStudy, old: str, new: str) -> ClusterStudy:
    """Change a line of the cluster's profile, and open the study again."""
    change(study, old, new)
    return ClusterStudy(study.folder)


def epilayer(study: ClusterStudy, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("epilayer"))
    return subprocess.run(
        [program, "-C", str(study.folder), *words], capture_output=True, text=True, check=False, timeout=120
    )


def refused(done: subprocess.CompletedProcess[str], code: int, what: str, remedy: str) -> None:
    said = " ".join(done.stderr.split())
    assert done.returncode == code, done.stdout + done.stderr
    assert what in said
    assert remedy in said
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


def runs_after_all(study: ClusterStudy, *, by_hand: bool = False) -> None:
    def done() -> bool:
        return study.turn(by_hand=lambda *_: by_hand) is not None and (
            study.queue.job(1).state is JobState.COMPLETED
        )

    until(done, "it did not complete")


def test_a_partition_that_does_not_exist_leaves_the_job_ready(study: ClusterStudy) -> None:
    submitted(study)
    wrong = profile(study, "partition: debug", "partition: nosuch")
    refused(epilayer(wrong, "cluster", "launch"), 4, "invalid partition", "sinfo lists")
    assert wrong.queue.job(1).state is JobState.READY
    assert not list(wrong.launcher.folder.glob("*"))
    runs_after_all(profile(wrong, "partition: nosuch", "partition: debug"))


def test_a_walltime_over_the_partitions_limit_is_told_though_the_scheduler_takes_the_job(
    study: ClusterStudy,
) -> None:
    submitted(study)
    wrong = profile(study, '"00:20:00"', '"03:00:00"')
    first = epilayer(wrong, "cluster", "launch")
    assert first.returncode == 0, first.stderr
    until(lambda: bool(wrong.launcher.sync().notes), "it was not told")
    said = epilayer(wrong, "cluster", "sync").stdout
    assert "can never start (PartitionTimeLimit): ask for less in the cluster's YAML" in " ".join(
        said.split()
    )
    for one in wrong.waiting().values():  # its own alone: other tests have theirs on this cluster
        wrong.scancel(one)
    runs_after_all(profile(wrong, '"03:00:00"', '"00:20:00"'), by_hand=True)


def test_a_job_that_no_other_node_suits_goes_to_the_one_that_failed_it(study: ClusterStudy) -> None:
    submitted(study, "held j0")
    (study.folder / "go" / "j0").unlink()

    def runs_again() -> bool:
        study.turn()
        for one in study.waiting().values():
            study.release(one.batch)
        return "j0" in study.started()

    until(runs_again, "it did not start")
    study.node_down()
    study.go(["j0"])
    until(lambda: study.turn() is not None and study.first == {1: "node_failure"}, "it was not judged")
    # The scheduler takes a job that is held with whatever exclusion, and finds no node for it later.
    until(lambda: runs_again() or study.queue.job(1).state is JobState.COMPLETED, "it never started")
    runs_after_all(study)


def test_a_quota_of_the_group_on_jobs_is_named_with_what_to_lower(study: ClusterStudy) -> None:
    submitted(study)
    _limit("0")
    try:
        refused(epilayer(study, "cluster", "launch"), 4, "submit limit", "most_queued")
        assert study.queue.job(1).state is JobState.READY
    finally:
        _limit("-1")
    runs_after_all(study)


def _limit(jobs: str) -> None:
    command = ["sacctmgr", "-i", "modify", "user", "root", "set", f"MaxSubmitJobs={jobs}"]
    shown = ["scontrol", "show", "assoc_mgr", "flags=assoc", "users=root"]

    subprocess.run(command, check=True, capture_output=True)

    def known_to_the_controller() -> bool:
        told = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
        return ("MaxSubmitJobs=0" in told) == (jobs == "0")

    until(known_to_the_controller, "the controller did not take the limit")  # else the next job is refused


@pytest.mark.parametrize("name", ["slab (001) of a very long study", "x" * 300, "-n 7; rm *\n#SBATCH -N 9 ü"])
def test_a_job_of_any_name_runs_and_is_found_by_its_name(study: ClusterStudy, name: str) -> None:
    submitted(study, name)
    [one] = study.launcher.launch()
    assert "\n#SBATCH -N 9" not in one.script
    found = study.launcher.slurm.queued()[one.scheduler_id]
    assert len(found.name.split()) == 1
    until(lambda: one.scheduler_id in study.launcher.slurm.accounted(names=[found.name]), "not accounted")
    runs_after_all(study)


def test_a_launch_folder_on_a_full_disk_leaves_the_job_ready(study: ClusterStudy) -> None:
    submitted(study)
    runs = study.folder / "runs"
    with mounted(tmpfs, runs):
        with pytest.raises(OSError, match="No space"):
            drill_jobs.fill(str(runs))
        refused(epilayer(study, "cluster", "launch"), 4, "No space left on device", "Free space")
        assert study.queue.job(1).state is JobState.READY
        for ballast in runs.glob("fill-*"):
            ballast.unlink()
        runs_after_all(study)


def test_a_database_that_cannot_be_reached_is_named_without_its_password(study: ClusterStudy) -> None:
    change(study, study.queue.uri, f"mongodb://me:{SECRET}@127.0.0.1:9/db?serverSelectionTimeoutMS=200")
    refused(epilayer(study, "status"), 4, "mongodb://me:***@127.0.0.1:9/db", "Check that it runs")


def test_wrong_credentials_are_told_without_showing_them(study: ClusterStudy, tmp_path: Path) -> None:
    with locked_database(tmp_path) as address:
        change(study, study.queue.uri, f"mongodb://me:{SECRET}@{address}/db")
        for words in (("status",), ("cluster", "launch")):
            done = epilayer(study, *words)
            refused(done, 4, f"mongodb://me:***@{address}/db refuses", "Check user, password")
        doctor = epilayer(study, "cluster", "doctor")
        assert doctor.returncode == 1
        assert "refuses" in doctor.stdout
        assert SECRET not in doctor.stdout + doctor.stderr


@contextmanager
def locked_database(folder: Path) -> Iterator[str]:
    """Give the address of a second database server, which lets nobody in."""
    server = Path(__file__).resolve().parents[2] / "slurm" / "dev" / "mongo_server.py"
    python = Path(f"/proc/{(dev_folder() / 'run' / 'mongo.pid').read_text().strip()}/cmdline").read_bytes()
    data, ran = folder / "locked", folder / "locked-run"
    data.mkdir()
    ran.mkdir()
    process = subprocess.Popen([python.split(b"\0")[0].decode(), str(server), str(data), str(ran), "--auth"])
    try:
        until((ran / "mongo.uri").exists, "the second database did not start")
        yield f"127.0.0.1:{(ran / 'mongo.port').read_text()}"
    finally:
        process.kill()
        process.wait()
