"""The transport flow through the embedded queue: segments that add their successors, records, refusals."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from monty.json import MontyDecoder
from pymatgen.core import Lattice, Structure

from epilayer.flows.transport import (
    TransportMaker,
    TransportPlan,
    begun,
    hold_host,
    loaded_of,
    moving_in_words,
)
from epilayer.launch import EmbeddedQueue, run_workers
from epilayer.model.dynamics import DynamicsSettings
from epilayer.model.errors import InputError, StructureError
from epilayer.model.ion_transport import ArrheniusEstimate, IonTransport
from epilayer.model.records import Calculation
from epilayer.model.transport import Verdict
from epilayer.store.jobs import embedded_jobstore
from epilayer.store.records import document_of, record_of
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import open_reference

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = Catalogue((shipped("configs"),))
CHARGES = {"na": 1.0, "no2": -1.0}


def pore() -> Structure:
    """A wall of Zn, C and H; inside one Na, a bent anion and a bit of ether: 15 atoms."""
    host = [("Zn", [0, 0, 0]), ("C", [1.9, 0, 0]), ("C", [3.2, 0, 0]), ("H", [4.2, 0, 0]), ("Zn", [0, 6, 6])]
    guests = [
        (1, "na", [("Na", [6, 6, 6])]),
        (2, "no2", [("N", [8.5, 6, 6]), ("O", [8.0, 7.1, 6]), ("O", [8.0, 4.9, 6])]),
        (
            3,
            "ether",
            [
                ("O", [6, 6, 8.3]),
                ("C", [6, 7.2, 9.1]),
                ("C", [6, 4.8, 9.1]),
                ("H", [6.9, 7.2, 9.7]),
                ("H", [6.9, 4.8, 9.7]),
                ("H", [5.1, 7.2, 9.7]),
            ],
        ),
    ]
    atoms = [("host", 0, "wall", *a) for a in host]
    atoms += [("guest", number, name, *a) for number, name, members in guests for a in members]
    return Structure(
        Lattice.cubic(13.0),
        [a[3] for a in atoms],
        [a[4] for a in atoms],
        coords_are_cartesian=True,
        site_properties={
            "part": [a[0] for a in atoms],
            "molecule": [a[1] for a in atoms],
            "molecule_name": [a[2] for a in atoms],
        },
    )


def plan(**changes: object) -> TransportPlan:
    dynamics = DynamicsSettings(time_step_fs=0.5, checkpoint_every=10)
    given: dict[str, Any] = {
        "dynamics": dynamics,
        "equilibration_steps": 10,
        "production_steps": 30,
        "minimise_steps": 3,
        **changes,
    }
    return TransportPlan(**given)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[str]]:
    """One flow with everything in it: two temperatures, two seeds, segments of 16 steps, an NVE check."""
    root = tmp_path_factory.mktemp("study")
    (root / "epilayer.yaml").touch()
    engine: Any = CATALOGUE.engine("toy")
    wanted = plan(temperatures_k=(300.0, 400.0), seeds=(0, 1), segment_steps=16, nve_check_steps=20)
    flow = TransportMaker(engine=engine, plan=wanted).make("test pore", pore(), CHARGES)
    queue = EmbeddedQueue(root / "queue.sqlite", runs=root / "runs")
    queue.submit(flow)
    store = embedded_jobstore(root / "outputs.sqlite")
    report = run_workers(queue, store.as_dict(), workers=1)
    assert report.failed == 0, [j.cause for j in queue.status().failed]
    with store as outputs:
        found = outputs.query({}, properties=["output", "name"], load=True)
        out = [MontyDecoder().process_decoded(d["output"]) for d in found]
    return root, out, [j.name for j in queue.jobs()]


def records(outputs: list[Any]) -> dict[float, IonTransport]:
    return {o.temperature_k: o for o in outputs if isinstance(o, IonTransport)}


def test_segments_add_their_successors_until_all_steps_are_there(
    computed: tuple[Path, list[Any], list[str]],
) -> None:
    root, outputs, names = computed
    found = records(outputs)
    assert sorted(found) == [300.0, 400.0]
    for record in found.values():
        assert record.seeds == (0, 1)
        assert (record.steps, record.frames) == (40, 41)
        for seed in (0, 1):
            rows = [r for r in record.segments if r.seed == seed]
            assert [(r.first_step, r.last_step) for r in rows] == [(0, 16), (16, 32), (32, 40)]
            assert [r.ended_by.value for r in rows] == ["steps", "steps", "complete"]
        for file in record.trajectories:
            assert file.path.startswith(str(root / "trajectories"))
            with open_reference(file) as stored:
                assert stored.steps().tolist() == list(range(41))
    # Two temperatures of two seeds with three segments each, and two segments without thermostat.
    assert (
        len([n for n in names if n.endswith(("segment 1", "segment 2", "segment 3")) and "after" not in n])
        == 14
    )


def test_only_what_may_move_has_moved(computed: tuple[Path, list[Any], list[str]]) -> None:
    record = records(computed[1])[300.0]
    assert record.moves == "the guests and the host's H; the host's C, Zn are held"
    with open_reference(record.trajectories[0]) as stored:
        moved = np.abs(stored.positions() - stored.positions()[0]).max(axis=(0, 2))
    assert (moved[[0, 1, 2, 4]] == 0).all()
    assert (moved[[3, 5, 6, 7, 8, 9, 10]] > 0).all()


def test_too_short_is_refused_and_says_what_it_would_take(
    computed: tuple[Path, list[Any], list[str]],
) -> None:
    record = records(computed[1])[400.0]
    assert record.verdict is Verdict.REFUSED
    assert record.statement.startswith("refused: too short")
    sodium = record.report.of("na")
    assert sodium.diffusion_cm2_per_s is sodium.lower_cm2_per_s is None
    assert sodium.n_carriers == 2  # one an ion of each replica
    assert {t.verdict for t in record.report.transference} == {Verdict.REFUSED}
    assert record.report.faster[0].verdict is Verdict.REFUSED
    fit = next(o for o in computed[1] if isinstance(o, ArrheniusEstimate))
    assert fit.verdict is Verdict.REFUSED
    assert fit.reason.startswith("D is resolved at 0 of 2 temperatures")


def test_the_record_holds_solvation_drift_and_references(
    computed: tuple[Path, list[Any], list[str]],
) -> None:
    first, second = (records(computed[1])[t] for t in (300.0, 400.0))
    assert {s.partner for s in first.solvation.shells} >= {"all O", "O (no2)", "O (ether)", "N (no2)"}
    assert sum(s.share for s in first.solvation.shares) == pytest.approx(1.0)
    assert first.solvation.share_with_anion_and_chain is not None
    assert first.nve_drift_mev_per_atom_ps is not None
    assert second.nve_drift_mev_per_atom_ps is None
    assert abs(first.nve_drift_mev_per_atom_ps) < 20.0  # 10 fs of stiff springs at 0.5 fs
    assert first.level.stand_in
    assert len(json.dumps(first.model_dump(mode="json", exclude={"level"}))) < 40_000


def test_records_go_through_the_store(computed: tuple[Path, list[Any], list[str]]) -> None:
    ids = set()
    for record in [o for o in computed[1] if isinstance(o, IonTransport | ArrheniusEstimate)]:
        document = document_of(record, job="j", created="2026-01-01T00:00:00Z")
        assert record_of(json.loads(json.dumps(document))) == record
        assert document["fields"]["verdict"] == "refused"
        assert document["fields"]["stand_in"] is True
        ids.add(document["id"])
    assert len(ids) == 3


def test_a_changed_trajectory_is_not_analysed(computed: tuple[Path, list[Any], list[str]]) -> None:
    reference = records(computed[1])[300.0].trajectories[1]
    size = os.path.getsize(reference.path)  # noqa: PTH202
    with open(reference.path, "r+b") as file:  # noqa: PTH123
        file.seek(size // 2)
        file.write(b"\0\1\2")
    with pytest.raises(Exception, match="not the one that was written"):
        open_reference(reference)


# -- what is refused at the door --------------------------------------------------------------------


def maker(**changes: object) -> TransportMaker:
    engine: Any = CATALOGUE.engine("toy")
    return TransportMaker(engine=engine, plan=plan(**changes))


def test_bad_input_is_refused_when_the_flow_is_built() -> None:
    bare = pore()
    bare.remove_site_property("part")
    with pytest.raises(StructureError, match="does not say which atoms are host"):
        maker().make("x", bare, CHARGES)
    with pytest.raises(StructureError, match="There is no fsi in the pore"):
        maker().make("x", pore(), {"fsi": -1.0, "na": 1.0})
    with pytest.raises(StructureError, match="No guest is a cation"):
        maker().make("x", pore(), {"no2": -1.0})
    with pytest.raises(InputError, match="names the temperature 300 twice"):
        maker(temperatures_k=(300.0, 300.0)).make("x", pore(), CHARGES)
    with pytest.raises(InputError, match="names no seed"):
        maker(seeds=()).make("x", pore(), CHARGES)
    with pytest.raises(InputError, match="No Si is in the structure"):
        maker(mobile_host_elements=("Si",)).make("x", pore(), CHARGES)


def test_the_framework_can_be_freed() -> None:
    assert moving_in_words(hold_host(pore(), plan(free_framework=True))) == "everything, the framework too"
    assert moving_in_words(hold_host(pore(), plan(mobile_host_elements=()))).startswith("the guests; ")


def test_the_start_takes_positions_over_and_keeps_who_is_who() -> None:
    start = hold_host(pore(), plan())
    after = start.copy()
    for key in list(after.site_properties):
        after.remove_site_property(key)
    after.translate_sites([5], [0.05, 0.0, -0.6], to_unit_cell=False)
    origin = Calculation.model_construct(label="minimise", structure=after)
    taken = begun(start, origin)
    assert np.allclose(taken.frac_coords, after.frac_coords)
    assert taken.site_properties["part"] == start.site_properties["part"]
    assert loaded_of(taken, CHARGES).members("no2")[0].tolist() == [6, 7, 8]
    after.replace(0, "Cu")
    with pytest.raises(StructureError, match="came back with other atoms"):
        begun(start, origin)
