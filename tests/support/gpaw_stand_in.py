"""Speaks the driver's language and computes a spring: what it says is no density-functional theory.

With ``DIE_AT=N`` it kills the process that started it, as ``kill -9`` would, once it has computed the step N
of this attempt: before it answers, or after it where ``DIE_AFTER_ANSWER=1``.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

SPRING_EV_PER_ANG2, LENGTH_ANG = 15.0, 0.75


def say(**answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


parent = int(sys.argv[1])
request = json.loads(sys.stdin.readline())
say(kind="ready", gpaw="stand-in", libxc="none", ranks=1)
threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
Path("threads.json").write_text(json.dumps(threads), encoding="utf-8")
die_at = int(os.environ.get("DIE_AT", "-1"))
for count, line in enumerate(sys.stdin):
    positions = np.array(json.loads(line)["positions_ang"])
    bond = positions[1] - positions[0]
    stretch = np.linalg.norm(bond) - LENGTH_ANG
    force = SPRING_EV_PER_ANG2 * stretch * (1 + 3 * stretch) * bond / np.linalg.norm(bond)
    say(kind="iteration", step=count, iteration=1, energy_ev=0.0, moment_mu_b=0.0)
    Path("density.gpw").write_text(f"density of step {count}\n", encoding="utf-8")
    with Path("computed").open("a", encoding="utf-8") as computed:
        computed.write(f"{count}\n")
    answer = {
        "kind": "step",
        "step": count,
        "iterations": 1,
        "positions_ang": positions.tolist(),
        "energy_ev": SPRING_EV_PER_ANG2 * (stretch**2 / 2 + stretch**3),
        "forces_ev_per_ang": [force.tolist(), (-force).tolist()],
        "moments_mu_b": json.loads(os.environ.get("MOMENTS", "[0.0, 0.0]")),
        "total_moment_mu_b": 0.0,
        "dipole_e_ang": [0.0, 0.0, 0.0],
        "datasets": {"H": "none"},
        "versions": {"gpaw": "stand-in", "libxc": "none"},
    }
    if count == die_at and os.environ.get("DIE_AFTER_ANSWER") != "1":
        os.kill(parent, signal.SIGKILL)
        sys.exit(1)
    say(**answer)
    if count == die_at:
        # The answer is read before the next geometry is asked for.
        sys.stdin.readline()
        os.kill(parent, signal.SIGKILL)
        sys.exit(1)
