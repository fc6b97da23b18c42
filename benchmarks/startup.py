"""Processor time of ``epilayer --help`` beside that of an empty typer program, in one run.

    python benchmarks/startup.py [--runs 10]

The ratio is the result; the seconds are those of this machine (0.5 s is what a person notices as a wait).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

TIMES_EMPTY_ALLOWED = 2.0
NOTICED_S = 0.5
OURS = "from epilayer.cli import main; main()"
EMPTY = """\
import typer
app = typer.Typer(rich_markup_mode="rich")
for name in ("first", "second"):
    app.command(name)(lambda: None)
app()
"""


def processor_s(program: str) -> float:
    """Return user and system time of the help of a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run both in turn and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    pairs = [(processor_s(OURS), processor_s(EMPTY)) for _ in range(runs)]
    ours_s, empty_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"epilayer --help {ours_s:.2f} s (noticed from {NOTICED_S} s), empty typer program {empty_s:.2f} s")
    print(f"ratio {ours_s / empty_s:.2f} (allowed: {TIMES_EMPTY_ALLOWED})")
    sys.exit(ours_s > TIMES_EMPTY_ALLOWED * empty_s)


if __name__ == "__main__":
    main()
