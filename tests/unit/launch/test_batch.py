"""The batch script: sizes, limits, names, and a shell that accepts it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from epilayer.launch import batch
from epilayer.model.base import parse
from epilayer.model.cluster import (
    Action,
    Cluster,
    Recovery,
    Resources,
    megabytes,
    seconds,
    walltime_text,
)
from epilayer.model.errors import InputError
from epilayer.model.failure import FailureClass
from epilayer.study.config import Catalogue, read_yaml, shipped


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("EPILAYER_DATABASE", "mongodb://host/db")
    return Catalogue((shipped("configs"),)).cluster("slurm")


def rendered(cluster: Cluster, folder: Path, name: str = "slab (001)", atoms: int = 144) -> str:
    return batch.render(
        (shipped("slurm") / "job.sh.j2").read_text(encoding="utf-8"),
        title=name,
        works_on="Firework 1, job 2 of the queue",
        options=batch.options(cluster.resources_for(name, atoms), "x", folder, cluster.signal_ahead_s),
        preamble=(shipped("slurm") / cluster.preamble).read_text(encoding="utf-8"),
        preamble_name=cluster.preamble,
        signal_ahead_s=cluster.signal_ahead_s,
        command="epilayer cluster rocket --fw-id 1",
    )


def test_a_static_of_144_atoms_is_not_a_dynamics_of_506(cluster: Cluster) -> None:
    small, large = cluster.resources_for("slab", 144), cluster.resources_for("md", 506)
    assert (small.nodes, small.tasks, small.walltime) == (1, 64, 86400)
    assert (large.nodes, large.tasks, large.walltime) == (2, 128, 172800)
    assert cluster.resources_for("report triazole", 0).tasks == 1


def test_every_shell_that_checks_accepts_the_script(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(rendered(cluster, tmp_path), encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    for option in ("--ntasks=64", "--mem=122880M", "--time=1-00:00:00"):
        assert f"\n#SBATCH {option}\n" in text
    assert "#SBATCH --signal=B:USR1@300\n#SBATCH --no-requeue\n" in text


def test_a_name_of_several_lines_adds_no_option_and_no_command(cluster: Cluster, tmp_path: Path) -> None:
    plain = rendered(cluster, tmp_path, name="slab")
    odd = rendered(cluster, tmp_path, name="slab\n#SBATCH -N 9\nrm -rf x\r\x0b")
    assert odd.replace("# slab #SBATCH -N 9 rm -rf x\n", "# slab\n") == plain


@pytest.mark.parametrize("name", ["pilot.pbs", "pilot.sge"])
def test_the_pilots_of_other_schedulers_are_sound_scripts(name: str) -> None:
    script = shipped("slurm") / "elsewhere" / name
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)
    assert "\nexec epilayer cluster pilot --cluster " in script.read_text()


@pytest.mark.timeout(20)
def test_the_script_passes_the_signal_on_and_waits(cluster: Cluster, tmp_path: Path) -> None:
    text = rendered(cluster, tmp_path).replace(
        "epilayer cluster rocket --fw-id 1",
        "bash -c 'trap \"echo told; exit 7\" USR1; echo ready; while :; do sleep 0.05; done'",
    )
    process = subprocess.Popen(["bash", "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(10)
    assert process.stdout.readline() == "told\n"
    assert process.wait(10) == 7


def test_names_with_anything_in_them_become_names_for_the_scheduler() -> None:
    name = batch.job_name("slab (001) $(rm -rf /)\n" + "ü" * 300, "0123456789", 4, 5)
    assert name == "slab-001-rm-rf.012345.4.5"
    assert batch.job_name("***", "012345", 1, 2).startswith("job.")
    assert len(batch.job_name("x" * 300, "012345", 1, 2)) < 64


def test_what_a_partition_cannot_give_is_refused_before_it_is_submitted() -> None:
    data = read_yaml(shipped("configs") / "clusters" / "dev.yaml") | {"database": "mongodb://h/d"}
    dev = parse(Cluster, data, "dev.yaml")
    with pytest.raises(InputError, match="asks for walltime 03:00:00, and partition 'debug' allows 02:00:00"):
        batch.check_fits(dev, dev.resources.overlaid(Resources(walltime=10800)), "slab")
    with pytest.raises(InputError, match="partition 'gpu', which"):
        batch.check_fits(dev, Resources(partition="gpu"), "slab")
    with pytest.raises(InputError, match="told to stop ahead"):
        batch.options(Resources(walltime=30), "x", Path("/x"), 60)


def test_the_size_of_a_job_is_that_of_its_largest_structure() -> None:
    slab = {"@class": "Structure", "sites": [{}] * 144}
    spec = {
        "function": {"@bound": {"engine": 1}},
        "function_args": [slab],
        "function_kwargs": {"other": {"@class": "OutputReference", "uuid": "u", "attributes": []}},
    }
    assert batch.atoms_of(json.dumps(spec), lambda _: None) == 144
    assert batch.atoms_of(json.dumps(spec), lambda _: {"structure": {"sites": [{}] * 506}}) == 506


@pytest.mark.parametrize(
    ("text", "value"), [("30:00", 1800), ("24:00:00", 86400), ("2-00:00:00", 172800), ("1-02:00:00", 93600)]
)
def test_walltimes_as_slurm_writes_them(text: str, value: int) -> None:
    assert seconds(text) == value
    assert seconds(walltime_text(value)) == value


@pytest.mark.parametrize("text", ["soon", "12", "1:2:3:4", "-1:00"])
def test_what_is_no_walltime_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="walltime"):
        parse(Resources, {"walltime": text}, "--with")


def test_memory_with_and_without_unit() -> None:
    assert (megabytes("4G"), megabytes("512M"), megabytes("1.5 GB")) == (4096, 512, 1536)


@pytest.mark.parametrize(
    "bad", [{"partition": "a b"}, {"extra": ["-n 4"]}, {"account": "x\n#SBATCH"}, {"tasks": 0}]
)
def test_options_cannot_be_smuggled_in(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        parse(Resources, bad, "cluster.yaml")


def test_there_is_a_policy_for_every_class() -> None:
    data = read_yaml(shipped("configs") / "recovery.yaml")
    recovery = parse(Recovery, data, "recovery.yaml")
    assert set(recovery.policies) == set(FailureClass)
    del data["policies"]["crash"]
    with pytest.raises(InputError, match="no policy for crash"):
        parse(Recovery, data, "recovery.yaml")


def test_a_link_is_run_again_and_asks_for_no_more_than_the_others() -> None:
    recovery = parse(Recovery, read_yaml(shipped("configs") / "recovery.yaml"), "recovery.yaml")
    resuming = recovery.resuming().policies
    for kind in (FailureClass.WALLTIME, FailureClass.OUT_OF_MEMORY, FailureClass.NODE_FAILURE):
        assert resuming[kind].action is Action.RESUME
        assert resuming[kind].at_most == recovery.policies[kind].at_most
    assert resuming[FailureClass.CANCELLED].action is Action.NEVER


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EPILAYER_DATABASE", raising=False)
    with pytest.raises(InputError, match="EPILAYER_DATABASE"):
        Catalogue((shipped("configs"),)).cluster("slurm")
