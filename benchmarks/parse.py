"""Import of VASP outputs beside pymatgen, in one run: a 13,000-step AIMD, and 100 mixed directories.

    python benchmarks/parse.py [--steps 13000] [--atoms 506] [--peer-steps 200] [--data DIR]

Each reader runs in its own process, so that its peak memory is its own. pymatgen reads the first
``--peer-steps`` steps of the same trajectory (its time grows with the number of steps); both rates are
per step, over the same content: energies, lattices, positions and forces of every step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TIMES_FASTER_WANTED = 10.0
MEGABYTES_ALLOWED = 500.0
DISTINCT_FRAMES = 16

HEAD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.2  </i>
 </generator>
 <incar>
  <i type="int" name="NSW">{steps}</i>
  <i type="int" name="IBRION">     0</i>
 </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       1        1        1 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">    500.00000000</i>
   <i name="EDIFF">      0.00001000</i>
   <i type="int" name="ISPIN">     1</i>
   <i type="int" name="NELM">   100</i>
   <i type="int" name="ISMEAR">     0</i>
   <i name="SIGMA">      0.05000000</i>
   <i type="logical" name="LDAU"> F  </i>
   <i type="string" name="ALGO">normal</i>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">{steps}</i>
   <i type="int" name="IBRION">     0</i>
   <i name="POTIM">      1.00000000</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>     {atoms} </atoms>
  <types>       1 </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{rows}   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
    <rc><c>{atoms}</c><c>C </c><c>     12.01100000</c><c>      4.00000000</c><c>  PAW_PBE C 08Apr2002                   </c></rc>
   </set>
  </array>
 </atominfo>
"""  # noqa: E501  (the layout is VASP's)
SCF = """  <scstep>
   <time name="total">    1.00    1.00</time>
   <energy>
    <i name="e_fr_energy">{energy:16.8f} </i>
    <i name="e_wo_entrp">{energy:16.8f} </i>
    <i name="e_0_energy">{energy:16.8f} </i>
   </energy>
  </scstep>
"""
STEP_TAIL = """  <varray name="stress" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
   <v>       0.00000000       0.00000000       0.00000000 </v>
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <energy>
   <i name="e_fr_energy">{energy:16.8f} </i>
   <i name="e_wo_entrp">{energy:16.8f} </i>
   <i name="e_0_energy">{energy:16.8f} </i>
   <i name="kinetic">      5.00000000 </i>
   <i name="total">{energy:16.8f} </i>
  </energy>
  <time name="totalsc">   10.00   10.00</time>
 </calculation>
"""


def varray(name: str, rows: np.ndarray) -> str:
    """Return a varray in VASP's layout."""
    lines = "".join(f"   <v> {a:16.8f} {b:16.8f} {c:16.8f} </v>\n" for a, b, c in rows)
    return f'  <varray name="{name}" >\n{lines}  </varray>\n'


def structure(tag: str, positions: np.ndarray) -> str:
    """Return a structure in VASP's layout."""
    cell = varray("basis", np.eye(3) * 17.665)
    return (
        f" <structure{tag}>\n  <crystal>\n{cell}  </crystal>\n{varray('positions', positions)} </structure>\n"
    )


def write_trajectory(path: Path, steps: int, atoms: int) -> None:
    """Write an AIMD vasprun.xml, made up, in VASP's layout."""
    rng = np.random.default_rng(0)
    positions = rng.random((atoms, 3))
    frames = []
    for _ in range(DISTINCT_FRAMES):
        positions = (positions + rng.normal(0, 1e-3, positions.shape)) % 1
        frames.append(structure("", positions) + varray("forces", rng.normal(0, 1, (atoms, 3))))
    rows = "".join("    <rc><c>C </c><c>   1</c></rc>\n" for _ in range(atoms))
    with path.open("w", encoding="ascii", buffering=1 << 20) as out:
        out.write(HEAD.format(steps=steps, atoms=atoms, rows=rows))
        out.write(structure(' name="initialpos" ', positions))
        for step in range(steps):
            energy = -3000.0 + np.sin(step / 50)
            loop = "".join(SCF.format(energy=energy + 10.0**-k) for k in (1, 4, 6, 9))
            out.write(
                " <calculation>\n" + loop + frames[step % DISTINCT_FRAMES] + STEP_TAIL.format(energy=energy)
            )
        out.write(structure(' name="finalpos" ', positions) + "</modeling>\n")


WORK = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
{setup}
import numpy as np
began = time.perf_counter()
{work}
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"seconds": seconds, "megabytes": peak, **result}}))
"""
OURS = WORK.format(
    setup="from epilayer.outputs import read_vasprun",
    work="run = read_vasprun(sys.argv[1], frames=True)\n"
    'result = {"steps": len(run.energies_ev), "sum": float(run.positions_frac.sum()), '
    '"forces": float(np.vdot(run.forces_ev_per_ang, run.forces_ev_per_ang)), '
    '"last": float(run.energies_ev[-1])}',
)
PEER = WORK.format(
    setup="from pymatgen.io.vasp import Vasprun",
    work="run = Vasprun(sys.argv[1], parse_dos=False, parse_eigen=False, parse_potcar_file=False)\n"
    'result = {"steps": len(run.ionic_steps), '
    '"sum": float(sum(s["structure"].frac_coords.sum() for s in run.ionic_steps)), '
    '"forces": float(sum(np.square(s["forces"]).sum() for s in run.ionic_steps)), '
    '"last": float(run.final_energy)}',
)
OURS_MANY = WORK.format(
    setup="from epilayer.outputs import import_directory",
    work="records = import_directory(sys.argv[1])\n"
    'result = {"read": len(records), "energies": sum(r.energy_ev is not None for r in records)}',
)
PEER_MANY = WORK.format(
    setup="import os\nfrom pathlib import Path\nfrom pymatgen.io.vasp import Outcar, Vasprun",
    work="""
read = raised = 0
files = [p for p in Path(sys.argv[1]).rglob("*") if p.name.startswith(("vasprun", "OUTCAR"))]
for folder in sorted({p.parent for p in files}):
    try:
        for p in sorted(folder.glob("vasprun*")):
            Vasprun(p, parse_dos=False, parse_eigen=False, parse_potcar_file=False).final_energy
        for p in sorted(folder.glob("OUTCAR*")):
            Outcar(p).final_energy
        read += 1
    except Exception:
        raised += 1
result = {"read": read, "raised": raised}""",
)


def measure(code: str, path: Path) -> dict[str, float]:
    """Run a reader in its own process."""
    source = Path(__file__).parents[1] / "src"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=env, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    out: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return out


def trajectory(folder: Path, steps: int, atoms: int, peer_steps: int) -> bool:
    """Print the AIMD comparison; return whether the bars are met."""
    long, short = folder / "vasprun.xml", folder / "short.xml"
    write_trajectory(long, steps, atoms)
    write_trajectory(short, peer_steps, atoms)
    print(f"AIMD of {atoms} atoms, made up: {steps} steps, {long.stat().st_size / 1e6:.0f} MB")
    ours, same, peer = measure(OURS, long), measure(OURS, short), measure(PEER, short)
    for key in ("steps", "last", "sum", "forces"):
        assert abs(same[key] - peer[key]) < 1e-6 * max(1.0, abs(peer[key])), f"the readers differ in {key}"
    assert ours["steps"] == steps
    rate, peer_rate = steps / ours["seconds"], peer["steps"] / peer["seconds"]
    ratio = rate / peer_rate
    print(f"  epilayer  {rate:8.0f} steps/s  {ours['seconds']:7.1f} s  peak {ours['megabytes']:5.0f} MB")
    print(f"  pymatgen  {peer_rate:8.0f} steps/s  ({peer_steps} steps: {peer['seconds']:.1f} s, peak "
          f"{peer['megabytes']:.0f} MB)")  # fmt: skip
    fast, small = ratio >= TIMES_FASTER_WANTED, ours["megabytes"] <= MEGABYTES_ALLOWED
    print(f"  {ratio:.1f}x pymatgen (wanted {TIMES_FASTER_WANTED:g}x): {'met' if fast else 'NOT MET'}")
    print(f"  peak memory (allowed {MEGABYTES_ALLOWED:g} MB): {'met' if small else 'NOT MET'}")
    return fast and small


def directories(folder: Path, data: Path) -> None:
    """Print the comparison over 100 directories copied from real outputs."""
    if not (data / "index.json").exists():
        print(f"100 mixed directories: skipped, the real outputs are not at {data}")
        return
    real = sorted(
        {p.parent for p in data.rglob("*") if p.is_file() and p.name.startswith(("vasprun", "OUTCAR"))}
        - {data / "vasp_misc", data / "vasp_unconverged", data / "vasp_error_texts"}
    )
    many = folder / "many"
    for number in range(100):
        shutil.copytree(real[number % len(real)], many / f"{number:03d}")
    ours, peer = measure(OURS_MANY, many), measure(PEER_MANY, many)
    print("100 mixed directories (relaxations, statics, MD, LOBSTER, unconverged, killed), one process each:")
    print(f"  epilayer  {ours['seconds']:6.1f} s  peak {ours['megabytes']:5.0f} MB  {ours['read']} records, "
          f"{ours['energies']} energies stood behind")  # fmt: skip
    print(f"  pymatgen  {peer['seconds']:6.1f} s  peak {peer['megabytes']:5.0f} MB  {peer['read']} read, "
          f"{peer['raised']} raised")  # fmt: skip
    print(f"  {peer['seconds'] / ours['seconds']:.1f}x pymatgen")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=13_000)
    parser.add_argument("--atoms", type=int, default=506)
    parser.add_argument("--peer-steps", type=int, default=200)
    default = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EPILAYER_REAL_DATA", default)))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        met = trajectory(Path(folder), given.steps, given.atoms, given.peer_steps)
        directories(Path(folder), given.data)
    if not met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
