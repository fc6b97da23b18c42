"""The embedded stores against maggma's: safety, speed, and the time of a question to 100,000 results.

Run with ``python benchmarks/store.py [NUMBER OF RESULTS]``. MontyStore needs ``pip install montydb``; without
it, the comparison is left out and said to be.
"""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The neighbour queue.py must not stand before the standard library's queue.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

from epilayer.store.filters import parse_filter  # noqa: E402
from epilayer.store.results import Record, SqliteResults  # noqa: E402
from epilayer.store.sqlite import SqliteStore  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRITERS, WRITES, DOCUMENTS, REPEATS = 2, 30, 400, 7
QUESTIONS = {
    "equality, a third of all": "facet=100",
    "equality, one": "seed=500",
    "inequality": "status!=refused",
    "range, a half": "adsorption_energy_ev<-0.5",
    "range, few": "adsorption_energy_ev<-1.5",
    "contains": "ligand~imidazole",
    "one of several": "level in chgnet,chgnet+d3",
    "no value": "adsorption_energy_ev=null",
    "time": "created>=2025-01-20",
}
WRITER = """
import json, sys
from monty.json import MontyDecoder
store = MontyDecoder().process_decoded(json.loads(sys.argv[1]))
store.connect()
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[3])):
    store.update({"uuid": f"{sys.argv[2]}-{n}", "index": 1, "output": {"n": n}}, key=["uuid", "index"])
"""


def stores(folder: Path) -> dict[str, Any]:
    """Return the stores to compare: ours as it is used, ours without waiting for the disk, and maggma's."""
    compared: dict[str, Any] = {
        "SqliteStore": SqliteStore(folder / "durable.db"),
        "SqliteStore, durable=False": SqliteStore(folder / "fast.db", durable=False),
    }
    if importlib.util.find_spec("montydb"):
        from maggma.stores import MontyStore

        compared["MontyStore"] = MontyStore("outputs", database_path=str(folder / "monty"), key="uuid")
    return compared


def kept(store: Any) -> int:  # noqa: ANN401  (any maggma store)
    """Return how many documents are there after two processes wrote theirs at the same time."""
    store.connect()  # MontyStore, created by two processes at once, fails in one of them
    told = json.dumps(store.as_dict())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, told, str(name), str(WRITES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in range(WRITERS)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        process.communicate("go\n")
    return int(store.count())


def rates(store: Any) -> tuple[float, float]:  # noqa: ANN401  (any maggma store)
    """Return documents written and read per second, one at a time as jobflow does, of 3 kB each."""
    documents = [
        {"uuid": f"speed-{n}", "index": 1, "output": {"energy_ev": -n, "forces": [[0.123456] * 3] * 80}}
        for n in range(DOCUMENTS)
    ]
    start = time.perf_counter()
    for document in documents:
        store.update(document, key=["uuid", "index"])
    written = time.perf_counter()
    for document in documents:
        found = store.query_one({"uuid": document["uuid"]}, ["output"], sort={"index": -1})
        assert found["output"] == document["output"]
    read = time.perf_counter()
    return DOCUMENTS / (written - start), DOCUMENTS / (read - written)


def synthetic(number: int) -> Iterator[Record]:
    """Yield made-up adsorption records: 25 fields, a body of 3 kB. No number in them means anything."""
    choose = random.Random(2025)  # noqa: S311
    for n in range(number):
        day, hour, minute = choose.randrange(28) + 1, choose.randrange(24), choose.randrange(60)
        yield Record(
            kind="adsorption",
            id=f"{choose.getrandbits(256):064x}",
            created=f"2025-01-{day:02d}T{hour:02d}:{minute:02d}:00",
            schema_version=1,
            fields={
                "facet": choose.choice(["001", "100", "110"]),
                "ligand": choose.choice(["triazole", "2-methylimidazole", "imidazole", "benzotriazole"]),
                "cathode": choose.choice(["nvopf", "prussian-white"]),
                "adsorption_energy_ev": None if n % 10 == 0 else round(choose.gauss(-0.5, 0.4), 4),
                "status": choose.choice(["certified", "refused"]),
                "level": choose.choice(["chgnet", "chgnet+d3", "7net-0", "7net-0+d3", "pbe+d3"]),
                "engine": choose.choice(["chgnet", "sevennet", "vasp"]),
                "converged": n % 7 > 0,
                "seed": n,
                **{f"number_{k}": choose.random() for k in range(10)},
                **{f"word_{k}": choose.choice("abcdefgh") * 8 for k in range(6)},
            },
            body={"synthetic": True, "legs": [f"{choose.getrandbits(256):064x}" for _ in range(43)]},
        )


def median_ms(ask: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the median time of a question by a clock that counts seconds, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        start = clock()
        ask()
        times.append(clock() - start)
    return statistics.median(times) * 1e3


def measure_results(
    path: Path, number: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, dict[str, tuple[float, float, float, int]]]:
    """Return records stored per second, and each question's times and answer.

    Returns
    -------
    tuple of float and dict
        The rate, and by question: the milliseconds of a query (default limit), of the same sorted by another
        field, of a count; and that count.
    """
    results = SqliteResults(path)
    storing_s = 0.0
    batch: list[Record] = []
    for record in synthetic(number):
        batch.append(record)
        if len(batch) == 1000 or record["fields"]["seed"] == number - 1:  # noqa: PLR2004
            start = time.perf_counter()
            results.put(batch)
            storing_s += time.perf_counter() - start
            batch = []
    times = {}
    for question, text in QUESTIONS.items():
        ask = partial(results.query, "adsorption", [parse_filter(text)])
        count = partial(results.count, "adsorption", [parse_filter(text)])
        ordered = partial(ask, sort="number_3")
        times[f"{question}: {text}"] = (*(median_ms(each, clock) for each in (ask, ordered, count)), count())
    results.close()
    return number / storing_s, times


def main() -> None:
    """Print everything, ours beside the peer."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'store':28} {'kept':>7} {'writes/s':>9} {'reads/s':>9}")
        found: dict[str, tuple[float, float]] = {}
        for label, store in stores(folder).items():
            there = kept(store)
            found[label] = rates(store)
            print(f"{label:28} {there:3}/{WRITERS * WRITES} {found[label][0]:9.0f} {found[label][1]:9.0f}")
        if "MontyStore" in found:
            for label in list(found)[:-1]:
                write, read = (
                    ours / theirs for ours, theirs in zip(found[label], found["MontyStore"], strict=True)
                )
                print(f"{label} / MontyStore: writes x {write:.1f}, reads x {read:.1f}")
        else:
            print("MontyStore is not compared: montydb is not installed")
        rate, times = measure_results(folder / "results.db", number)
        size_mb = (folder / "results.db").stat().st_size / 1e6
        print(f"\n{number} synthetic results: {rate:.0f} stored/s, {size_mb:.0f} MB; median of {REPEATS}, ms")
        print(f"{'question':48} {'query':>7} {'sorted':>7} {'count':>7} {'matches':>8}")
        for question, (query, ordered, count, matches) in times.items():
            print(f"{question:48} {query:7.1f} {ordered:7.1f} {count:7.1f} {matches:8}")


if __name__ == "__main__":
    main()
