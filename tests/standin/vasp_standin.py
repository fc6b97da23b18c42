#!/usr/bin/env python3
"""A stand-in for VASP: reads and checks its four inputs, moves atoms with a toy potential, writes its outputs.

It is no DFT, and everything it writes says so. Environment:

``VASP_STANDIN_FAULT``
    ``zbrent``, ``brmix``, ``edddav``, ``zpotrf``, ``oom``, ``segfault``, ``walltime``, ``truncated_contcar``,
    ``full_disk``, ``nan``.
``VASP_STANDIN_ONCE``
    A file: the fault strikes the first run that can create it, and no other. Without it, the fault
    strikes every run.
``VASP_STANDIN_FAULTS``
    A JSON file of faults by number of atoms; each strikes one run and leaves a file beside it.
``VASP_STANDIN_ONLY``
    ``slab`` or ``molecule``: the fault strikes cells with, or without, more than 30 atoms.
``VASP_STANDIN_EXPECT``
    A JSON file of INCAR tags; a run whose tags differ is refused.
``VASP_STANDIN_CALCULATOR``
    ``toy`` (default) or ``emt``.
``VASP_STANDIN_TIES``
    A file: the toy potential's springs have the lengths they have in this POSCAR, which the first run
    writes, so that all segments of a trajectory move in one potential.
``VASP_STANDIN_ROUND``
    Set: Nose-Hoover dynamics keep no more digits from step to step than CONTCAR has, so that a run that
    goes on from a file and one that was never cut are the same.
``VASP_STANDIN_STEP_S``
    Seconds that an ionic step takes at least.
"""

# ruff: noqa: E501, T201, ANN001, ANN201, C901, PLR0912, PLR0915, SIM905
# A program and no part of the package: it prints, it writes VASP's fixed columns, it walks lists of tags.
from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
import time
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

LABEL = "STAND-IN (not VASP; no number here is DFT)"
KNOWN = set(
    "ADDGRID ALGO AMIN AMIX AMIX_MAG BMIX BMIX_MAG DIPOL EDIFF EDIFFG ENCUT GGA IBRION ICHARG IDIPOL IMIX ISEARCH "
    "ISIF ISMEAR ISPIN ISTART ISYM IVDW KPAR LASPH LCHARG LDAU LDAUJ LDAUL LDAUPRINT LDAUTYPE LDAUU LDIPOL LMAXMIX "
    "ANDERSEN_PROB LANGEVIN_GAMMA LORBIT LREAL LWAVE MAGMOM MDALGO NBANDS NBLOCK NCORE NELECT NELM NELMIN NPAR NSIM NSW NUPDOWN POTIM PREC RANDOM_SEED SIGMA "
    "SMASS SYMPREC TEBEG TEEND".split()
)
STRINGS = {"ALGO", "GGA", "PREC", "SYSTEM", "METAGGA"}
VECTORS = {"MAGMOM", "LDAUU", "LDAUJ", "LDAUL", "DIPOL", "RANDOM_SEED", "LANGEVIN_GAMMA"}
INTEGERS = {"LDAUL", "RANDOM_SEED"}
ENTROPY_EV, SCF_STEPS, DISPERSION_EV_PER_ATOM = 0.002, 5, -0.05
ATOM_EV = -4.0  # keeps total energies negative, and cancels in every balanced difference


class RefusedError(Exception):
    """An input does not say what VASP would need."""


def main() -> int:
    try:
        run = Run(Path.cwd())
        run.check()
    except RefusedError as problem:
        print(f"STAND-IN REFUSES: {problem}", flush=True)
        return 1
    return run.execute()


class Run:
    def __init__(self, here: Path) -> None:
        self.here = here
        self.tags = read_incar(need(here / "INCAR"))
        self.tags.setdefault("IBRION", 0 if self.tags.get("NSW", 0) > 0 else -1)  # as VASP does
        self.mesh, self.centring = read_kpoints(need(here / "KPOINTS"))
        self.cell, self.symbols, self.counts, self.frac, self.free, self.velocities, block = read_poscar(
            need(here / "POSCAR")
        )
        self.nose, self.next_frac = (None, None) if block is None else (block[0], np.array(block[1:]))
        self.potentials = read_potcar(need(here / "POTCAR"))
        self.elements = [s for s, n in zip(self.symbols, self.counts, strict=True) for _ in range(n)]
        self.energies: list[float] = []
        self.once = os.environ.get("VASP_STANDIN_ONCE", "")
        self.fault = self._fault()

    def _fault(self) -> str:
        listed = os.environ.get("VASP_STANDIN_FAULTS")
        if listed:
            fault = json.loads(Path(listed).read_text(encoding="utf-8")).get(str(len(self.elements)), "")
            self.once = f"{listed}.{len(self.elements)}.struck"
            return fault
        fault = os.environ.get("VASP_STANDIN_FAULT", "")
        only = os.environ.get("VASP_STANDIN_ONLY")
        if not fault or (only and (only == "slab") != (len(self.elements) > 30)):
            return ""
        return fault

    def strikes(self, number: int) -> bool:
        """Whether the fault strikes in this ionic step: the first for ``nan``, the third for all others."""
        if not self.fault or number != (1 if self.fault == "nan" else 3):
            return False
        if self.once:
            once = self.once
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                self.fault = ""
        return bool(self.fault)

    def check(self) -> None:
        tags, atoms, types = self.tags, len(self.elements), len(self.symbols)
        unknown = sorted(set(tags) - KNOWN)
        if unknown:
            raise RefusedError(f"INCAR has tags that this program does not know: {unknown}")
        for tag in ("ENCUT", "PREC", "GGA", "ISPIN", "EDIFF", "ISMEAR", "NSW"):
            if tag not in tags:
                raise RefusedError(f"INCAR does not state {tag}")
        if str(tags["GGA"]).upper() != "PE":
            raise RefusedError(f"GGA = {tags['GGA']} with PBE pseudopotentials")
        if tags["ISPIN"] == 2 and len(tags.get("MAGMOM", ())) != atoms:
            raise RefusedError(f"MAGMOM has {len(tags.get('MAGMOM', ()))} values for {atoms} atoms")
        if tags.get("LDAU"):
            for tag in ("LDAUL", "LDAUU", "LDAUJ"):
                if len(tags.get(tag, ())) != types:
                    raise RefusedError(f"{tag} has {len(tags.get(tag, ()))} values for {types} elements")
        if tags.get("LDIPOL") and ("IDIPOL" not in tags or len(tags.get("DIPOL", ())) != 3):
            raise RefusedError("LDIPOL without IDIPOL and DIPOL")
        if tags["NSW"] > 0 and tags["IBRION"] < 0:
            raise RefusedError("NSW > 0 with IBRION = -1")
        if [e for e, *_ in self.potentials] != self.symbols:
            raise RefusedError(f"POTCAR is of {[e for e, *_ in self.potentials]}, POSCAR of {self.symbols}")
        if not np.isfinite(self.frac).all() or not np.isfinite(self.cell).all():
            raise RefusedError("POSCAR has coordinates that are no numbers")
        gamma_only = "gam" in Path(sys.argv[0]).name
        if gamma_only and self.mesh != (1, 1, 1):
            print("VASP was compiled for the gamma-point only: use vasp_std for this mesh")
            raise RefusedError("a Gamma-only program was given a mesh")
        expected = os.environ.get("VASP_STANDIN_EXPECT")
        if expected:
            wanted = json.loads(Path(expected).read_text(encoding="utf-8"))
            wrong = {k: (tags.get(k), v) for k, v in wanted.items() if tags.get(k) != v}
            if wrong:
                raise RefusedError(f"INCAR differs from what the test expects: {wrong}")

        if tags.get("LWAVE") and not gamma_only and self.bands() < self.electrons() / 2:
            print(" ERROR: TOO FEW BANDS!! Your highest band is occupied; please increase NBANDS")
            raise RefusedError(f"NBANDS = {self.bands()} for {self.electrons():g} electrons")

    def bands(self) -> int:
        """As many as asked for, else VASP's own choice for a spin-polarised run."""
        return int(self.tags.get("NBANDS", np.ceil(0.6 * self.electrons() + len(self.elements) / 2)))

    def write_wavecar(self) -> None:
        """Write the header and the length of a real one, and nothing in between; empty without LWAVE."""
        file = self.here / "WAVECAR"
        if not self.tags.get("LWAVE"):
            file.touch()
            return
        spins, bands, points = int(self.tags["ISPIN"]), self.bands(), int(np.prod(self.mesh))
        length = 8 * max(13, 4 + 3 * bands)
        with file.open("wb") as stream:
            stream.write(struct.pack("<3d", length, spins, 45200))
            stream.seek(length)
            stream.write(
                struct.pack("<13d", points, bands, float(self.tags["ENCUT"]), *self.cell.ravel(), 0.0)
            )
            stream.truncate(length * (2 + spins * points * (1 + bands)))

    # -- running ------------------------------------------------------------------------------

    def execute(self) -> int:
        print(f" running on    1 total cores\n {LABEL}", flush=True)
        before = self.here / "WAVECAR"
        if before.is_file() and before.stat().st_size:
            print(" found WAVECAR, reading the header", flush=True)
        with (
            (self.here / "vasprun.xml").open("w", encoding="utf-8") as self.xml,
            (self.here / "OUTCAR").open("w", encoding="utf-8") as self.out,
            (self.here / "OSZICAR").open("w", encoding="utf-8") as self.osz,
            (self.here / "XDATCAR").open("w", encoding="utf-8") as self.xdat,
        ):
            self.header()
            status = self.move()
            if status is None:
                self.footer()
                status = 0
        self.write_wavecar()
        (self.here / "CHGCAR").touch()
        return status

    def move(self) -> int | None:
        from ase import Atoms
        from ase.constraints import FixAtoms
        from ase.optimize import LBFGS

        atoms = Atoms(self.elements, cell=self.cell, scaled_positions=self.frac, pbc=True)
        atoms.calc = calculator(atoms)
        held = [i for i, flags in enumerate(self.free) if not any(flags)]
        atoms.set_constraint(FixAtoms(held))
        limit = max(1, int(self.tags["NSW"]))
        if self.tags["IBRION"] == 0:
            return self.dynamics(atoms, limit)
        target = -float(self.tags.get("EDIFFG", -0.02))
        optimizer = LBFGS(atoms, logfile=None, maxstep=0.1)
        for _ in optimizer.irun(fmax=0.98 * target, steps=limit - 1):
            status = self.step(atoms)
            if status is not None:
                return status
            if self.stop_asked():
                return None
            forces = np.linalg.norm(atoms.get_forces(), axis=1).max(initial=0.0)
            if forces <= 0.98 * target and self.tags["NSW"] > 0:
                self.out.write(" reached required accuracy - stopping structural energy minimisation\n")
                return None
            if len(self.energies) >= limit:
                return None
        return None

    def dynamics(self, atoms, steps: int) -> int | None:
        """Leapfrog; Nose-Hoover (MDALGO 2) with VASP's block behind CONTCAR, Langevin (3) or neither (1).

        CONTCAR holds the step's positions and the velocities half a step on; the block holds the
        thermostat's friction and the next positions, at which a run that begins from it begins.
        """
        from ase import units
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

        algorithm, kelvin = int(self.tags.get("MDALGO", 2)), float(self.tags["TEBEG"])
        rng = np.random.default_rng(int(self.tags.get("RANDOM_SEED", (0,))[0]))
        dt = float(self.tags["POTIM"]) * units.fs
        free = np.array([all(flags) for flags in self.free])
        mass = atoms.get_masses()[:, None]
        degrees = 3 * free.sum() - (3 if free.all() else 0)
        self.friction, self.block = 0.0, None
        if self.next_frac is not None:
            moved = atoms.get_scaled_positions(wrap=False)
            moved[free] = self.next_frac[free]
            atoms.set_scaled_positions(moved)
            velocity, self.friction = self.velocities / units.fs, self.nose[0] / units.fs
        else:
            if self.velocities is None:
                MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
                velocity = atoms.get_velocities()
                velocity[~free] = 0.0
                if free.all():
                    velocity -= (mass * velocity).sum(axis=0) / mass.sum()
            else:
                velocity = self.velocities / units.fs
            velocity = velocity - 0.5 * dt * free[:, None] * atoms.get_forces() / mass
        # As VASP does for SMASS = 0: a period of forty steps.
        inertia = degrees * units.kB * kelvin * (40 * dt / (2 * np.pi)) ** 2
        for _ in range(steps):
            before, frac = velocity, atoms.get_scaled_positions(wrap=False)
            push = free[:, None] * atoms.get_forces() / mass * dt
            drag = 0.5 * dt * self.friction
            velocity = (before * (1 - drag) + push) / (1 + drag)
            if algorithm == 3:
                keep = np.exp(-float(self.tags["LANGEVIN_GAMMA"][0]) / (1000 * units.fs) * dt)
                noise = np.sqrt((1 - keep**2) * units.kB * kelvin / mass) * rng.standard_normal(
                    velocity.shape
                )
                velocity = keep * before + push + free[:, None] * noise
            self.kinetic = 0.5 * float((mass * (0.5 * (before + velocity)) ** 2).sum())
            self.kelvin = 2 * self.kinetic / (max(degrees, 1) * units.kB)
            if algorithm == 2:
                twice = float((mass * velocity**2).sum())
                self.friction += dt * (twice - degrees * units.kB * kelvin) / inertia
                if os.environ.get("VASP_STANDIN_ROUND"):
                    velocity = read_back(exponents(velocity * units.fs)) / units.fs
                    self.friction = float(exponent(self.friction * units.fs)) / units.fs
                self.block = frac + dt * velocity @ np.linalg.inv(atoms.cell.array)
            atoms.set_velocities(velocity)
            status = self.step(atoms)
            if status is not None:
                return status
            if self.stop_asked():
                return None
            frac = frac + dt * velocity @ np.linalg.inv(atoms.cell.array)
            if os.environ.get("VASP_STANDIN_ROUND") and self.block is not None:
                frac[free] = read_back(exponents(self.block))[free]
            atoms.set_scaled_positions(frac)
        return None

    def stop_asked(self) -> bool:
        stopcar = self.here / "STOPCAR"
        if stopcar.is_file() and "LSTOP" in stopcar.read_text(encoding="utf-8"):
            self.out.write(" soft stop encountered!  aborting job ...\n")
            return True
        return False

    def step(self, atoms) -> int | None:
        number = len(self.energies) + 1
        time.sleep(float(os.environ.get("VASP_STANDIN_STEP_S", "0")))
        extra = DISPERSION_EV_PER_ATOM * len(atoms) if self.tags.get("IVDW") else 0.0
        electronic = float(atoms.get_potential_energy()) + ATOM_EV * len(atoms)
        forces = atoms.get_forces(apply_constraint=False)
        if self.strikes(number):
            if self.fault != "nan":
                return self.strike()
            electronic = float("nan")
        self.write_step(number, atoms, electronic, extra, forces)
        self.energies.append(electronic + extra)
        self.write_contcar(atoms)
        return None

    def strike(self) -> int:
        """Break the run as the fault asks."""
        say = {
            "zbrent": (
                " ZBRENT: fatal error in bracketing\n     please rerun with smaller EDIFF, or copy CONTCAR\n",
                1,
            ),
            "brmix": (" BRMIX: very serious problems\n the old and the new charge density differ\n", 1),
            "edddav": (" Error EDDDAV: Call to ZHEGV failed. Returncode =  12 1  24\n", 1),
            "zpotrf": (" LAPACK: Routine ZPOTRF failed!           0          10           5\n", 1),
            "oom": (
                "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some were OOM Killed.\n",
                137,
            ),
        }
        self.flush()
        if self.fault in say:
            text, code = say[self.fault]
            print(text, flush=True)
            return code
        if self.fault == "segfault":
            self.write_wavecar()
            print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "truncated_contcar":
            text = (self.here / "CONTCAR").read_text(encoding="utf-8")
            (self.here / "CONTCAR").write_text(text[: len(text) // 2], encoding="utf-8")
        if self.fault in ("walltime", "truncated_contcar"):
            self.xml.write("<calculation>\n <scstep>\n  <time")
            self.flush()
            print(
                "slurmstepd: error: *** STEP 7.0 CANCELLED DUE TO TIME LIMIT ***", file=sys.stderr, flush=True
            )
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "full_disk":
            self.xml.write("<calculation>\n <scstep>\n  <ti")
            self.flush()
            print("forrtl: No space left on device", file=sys.stderr, flush=True)
            print(
                "forrtl: severe (38): error during write, unit 20, file OUTCAR", file=sys.stderr, flush=True
            )
            return 38
        raise RefusedError(f"unknown fault {self.fault}")

    def flush(self) -> None:
        for stream in (self.xml, self.out, self.osz, self.xdat):
            stream.flush()

    # -- writing ------------------------------------------------------------------------------

    def header(self) -> None:
        tags, w = self.tags, self.xml.write
        w('<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n')
        w('  <i name="program" type="string">vasp </i>\n  <i name="version" type="string">6.4.2  </i>\n')
        w(f'  <i name="subversion" type="string">{LABEL}</i>\n  <i name="platform" type="string">any </i>\n')
        w('  <i name="date" type="string">2025 01 01 </i>\n  <i name="time" type="string">00:00:00 </i>\n')
        w(" </generator>\n <incar>\n")
        for tag, value in tags.items():
            w(xml_entry(tag, value))
        w(" </incar>\n <kpoints>\n")
        w(
            f'  <generation param="{self.centring}">\n   <v type="int" name="divisions"> {" ".join(map(str, self.mesh))} </v>\n'
        )
        w('   <v name="usershift"> 0.0 0.0 0.0 </v>\n   <v name="genvec1"> 1.0 0.0 0.0 </v>\n')
        w('   <v name="genvec2"> 0.0 1.0 0.0 </v>\n   <v name="genvec3"> 0.0 0.0 1.0 </v>\n')
        w('   <v name="shift"> 0.0 0.0 0.0 </v>\n  </generation>\n  <varray name="kpointlist">\n')
        points = [(i / self.mesh[0], j / self.mesh[1], k / self.mesh[2])
                  for i in range(self.mesh[0]) for j in range(self.mesh[1]) for k in range(self.mesh[2])]  # fmt: skip
        w("".join(f"   <v> {a:.8f} {b:.8f} {c:.8f} </v>\n" for a, b, c in points))
        w('  </varray>\n  <varray name="weights">\n')
        w("".join(f"   <v> {1 / len(points):.8f} </v>\n" for _ in points))
        w('  </varray>\n </kpoints>\n <parameters>\n  <separator name="general">\n')
        for tag, value in self.parameters().items():
            w(xml_entry(tag, value))
        w("  </separator>\n </parameters>\n <atominfo>\n")
        w(f"  <atoms> {len(self.elements)} </atoms>\n  <types> {len(self.symbols)} </types>\n")
        w(
            '  <array name="atoms">\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
        )
        w('   <field type="int">atomtype</field>\n   <set>\n')
        kind = {s: i + 1 for i, s in enumerate(self.symbols)}
        w("".join(f"    <rc><c>{e:<2}</c><c>{kind[e]:4d}</c></rc>\n" for e in self.elements))
        w('   </set>\n  </array>\n  <array name="atomtypes">\n   <dimension dim="1">type</dimension>\n')
        w(
            '   <field type="int">atomspertype</field>\n   <field type="string">element</field>\n   <field>mass</field>\n'
        )
        w('   <field>valence</field>\n   <field type="string">pseudopotential</field>\n   <set>\n')
        for (element, titel, zval), count in zip(self.potentials, self.counts, strict=True):
            w(
                f"    <rc><c>{count:4d}</c><c>{element:<2}</c><c> 1.0 </c><c> {zval:.8f} </c><c>  {titel:<40}</c></rc>\n"
            )
        w("   </set>\n  </array>\n </atominfo>\n")
        w(self.structure_xml(self.cell, self.frac, "initialpos", selective=True))
        o = self.out.write
        build = "gamma-only" if "gam" in Path(sys.argv[0]).name else "complex"
        o(f" vasp.6.4.2 {LABEL} {build}\n\n executed on             any date 2025.01.01  00:00:00\n INCAR:\n")
        o("".join(f"   {tag} = {plain(value)}\n" for tag, value in tags.items()))
        o("".join(f" POTCAR:    {titel}\n" for _, titel, _ in self.potentials))
        for element, titel, zval in self.potentials:
            o(
                f"   VRHFIN ={element}: {LABEL}\n   TITEL  = {titel}\n   POMASS =    1.000; ZVAL   = {zval:8.3f}    mass and valenz\n"
            )
        o(f"   ions per type =          {' '.join(map(str, self.counts))}\n")
        o(
            f"   k-points           NKPTS = {len(points):6d}   k-points in BZ     NKDIM = {len(points):6d}   number of bands    NBANDS={self.bands():6d}\n"
        )
        for tag, value in self.parameters().items():
            if tag in ("NSW", "NELM", "IBRION", "ISIF", "ISMEAR", "ISPIN", "NELMIN"):
                o(f"   {tag:<6} = {value:6d}    stand-in\n")
        o(
            f"   ENCUT  = {float(tags['ENCUT']):6.1f} eV\n   EDIFF  = {float(tags['EDIFF']):.1E}   stopping-criterion for ELM\n"
        )
        o(f"   NELECT = {self.electrons():12.4f}    total number of electrons\n")
        if tags.get("LDAU"):
            for tag in ("LDAUL", "LDAUU", "LDAUJ"):
                o(f"   angular momentum for each species {tag} = {plain(tags[tag])}\n")
        line = "       N       E                     dE             d eps       ncg     rms          rms(c)\n"
        self.osz.write(line)
        print(line, end="", flush=True)
        self.xdat.write(
            f"{LABEL}\n1.0\n{rows(self.cell)}{' '.join(self.symbols)}\n{' '.join(map(str, self.counts))}\n"
        )

    def electrons(self) -> float:
        default = sum(z * n for (_, _, z), n in zip(self.potentials, self.counts, strict=True))
        return float(self.tags.get("NELECT", default))

    def parameters(self) -> dict[str, object]:
        t = self.tags
        return {
            "PREC": str(t["PREC"]).lower(), "ENMAX": float(t["ENCUT"]), "EDIFF": float(t["EDIFF"]),
            "ISMEAR": int(t["ISMEAR"]), "SIGMA": float(t.get("SIGMA", 0.2)), "ISPIN": int(t["ISPIN"]),
            "NELM": int(t.get("NELM", 60)), "NELMIN": int(t.get("NELMIN", 2)), "NSW": int(t["NSW"]),
            "IBRION": int(t["IBRION"]), "ISIF": int(t.get("ISIF", 2)), "EDIFFG": float(t.get("EDIFFG", 0.0)),
            "POTIM": float(t.get("POTIM", 0.5)), "NELECT": self.electrons(), "NBANDS": self.bands(),
            "LREAL": bool(t.get("LREAL", False)), "LASPH": bool(t.get("LASPH", False)),
            "LDIPOL": bool(t.get("LDIPOL", False)), "IDIPOL": int(t.get("IDIPOL", 0)),
            "LNONCOLLINEAR": False, "LSORBIT": False, "LHFCALC": False, "LUSE_VDW": False, "GGA": str(t["GGA"]).upper(),
            "METAGGA": "--", "IVDW": int(t.get("IVDW", 0)), "LORBIT": int(t.get("LORBIT", 0)), "LDAU": bool(t.get("LDAU", False)),
            "ISYM": int(t.get("ISYM", 2)), "ALGO": str(t.get("ALGO", "Normal")), "ISTART": int(t.get("ISTART", 0)),
        }  # fmt: skip

    def structure_xml(self, cell, frac, name: str = "", *, selective: bool = False) -> str:
        text = f' <structure name="{name}">\n' if name else " <structure>\n"
        text += '  <crystal>\n   <varray name="basis">\n' + vectors(cell) + "   </varray>\n"
        text += f'   <i name="volume"> {abs(np.linalg.det(cell)):.8f} </i>\n   <varray name="rec_basis">\n'
        text += vectors(np.linalg.inv(cell).T) + "   </varray>\n  </crystal>\n"
        text += '  <varray name="positions">\n' + vectors(frac) + "  </varray>\n"
        if selective and not all(all(f) for f in self.free):
            flags = "".join(
                f'   <v type="logical"> {" ".join("T" if x else "F" for x in f)} </v>\n' for f in self.free
            )
            text += f'  <varray name="selective" type="logical">\n{flags}  </varray>\n'
        return text + " </structure>\n"

    def write_step(self, number: int, atoms, electronic: float, extra: float, forces) -> None:
        smearing = int(self.tags["ISMEAR"])
        entropy = 0.0 if smearing == -5 else ENTROPY_EV
        to_zero = entropy / (smearing + 2) if smearing > 0 else entropy / 2
        scf_free = electronic - to_zero
        w, o = self.xml.write, self.out.write
        w("<calculation>\n")
        # The electronic loop approaches its end from above, by less than EDIFF at last.
        changes = [0.1 * 0.01**k for k in range(SCF_STEPS - 1)] + [0.0]
        previous = None
        for k, change in enumerate(changes, start=1):
            free = scf_free + change
            delta = free if previous is None else free - previous
            previous = free
            w(
                f' <scstep>\n  <time name="total"> 0.01 0.01 </time>\n  <energy>\n{energies(free, entropy, to_zero)}  </energy>\n </scstep>\n'
            )
            o(
                f"\n--------------------------------------- Iteration {number:6d}({k:4d})  ---------------------------------------\n\n"
            )
            o(f"  total energy-change (2. order) :{delta:.7E}  ({delta:.7E})\n")
            o(f" number of electron {self.electrons():14.7f} magnetization {sum(self.moments()):14.7f}\n")
            o(f"  free energy    TOTEN  =  {free:18.8f} eV\n")
            line = f"DAV: {k:3d}    {fortran(free, 12)}   {fortran(delta, 5)}   {fortran(delta, 5)}  1000   0.1E-01    0.1E-02\n"
            self.osz.write(line)
            sys.stdout.write(line)
        o(
            "------------------------ aborting loop because EDIFF is reached ----------------------------------------\n"
        )
        total_free = scf_free + extra
        w(self.structure_xml(atoms.cell.array, atoms.get_scaled_positions(wrap=False)))
        w(
            ' <varray name="forces">\n'
            + vectors(forces)
            + ' </varray>\n <varray name="stress">\n'
            + vectors(np.zeros((3, 3)))
        )
        moving = self.tags["IBRION"] == 0
        kinetic = f'   <i name="kinetic"> {self.kinetic:16.8f} </i>\n' if moving else ""
        w(f" </varray>\n <energy>\n{energies(total_free, entropy, to_zero)}{kinetic} </energy>\n")
        moments = self.moments()
        if moments:
            o(
                "\n\n magnetization (x)\n\n# of ion       s       p       d       tot\n------------------------------------------\n"
            )
            o(
                "".join(
                    f"{i:5d}     {0:7.3f} {0:7.3f} {m:7.3f} {m:7.3f}\n"
                    for i, m in enumerate(moments, start=1)
                )
            )
            o(
                f"--------------------------------------------------\ntot       {0:7.3f} {0:7.3f} {sum(moments):7.3f} {sum(moments):7.3f}\n\n"
            )
        if extra:
            o(f"  Edisp (eV):  {extra:14.5f}\n")
        o(
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        o(f"  free  energy   TOTEN  =  {total_free:18.8f} eV\n\n")
        o(
            f"  energy  without entropy= {total_free + entropy:18.8f}  energy(sigma->0) = {total_free + to_zero:18.8f}\n\n"
        )
        o("      LOOP+:  cpu time      0.01: real time      0.01\n")
        warm = f" T= {self.kelvin:6.0f}. E= {fortran(total_free + self.kinetic, 8)}" if moving else ""
        line = f"{number:4d}{warm} F= {fortran(total_free, 8)} E0= {fortran(total_free + to_zero, 8)}  d E ={fortran(total_free - (self.energies[-1] if self.energies else 0.0), 6)}"
        line += f"  mag= {sum(moments):9.4f}\n" if moments else "\n"
        self.osz.write(line)
        sys.stdout.write(line)
        sys.stdout.flush()
        w(' <dos>\n  <i name="efermi"> 0.00000000 </i>\n </dos>\n')
        w("</calculation>\n")
        self.xdat.write(f"Direct configuration= {number:5d}\n{rows(atoms.get_scaled_positions(wrap=False))}")
        self.last = atoms
        self.flush()

    def moments(self) -> list[float]:
        return [float(x) for x in self.tags.get("MAGMOM", ())] if self.tags["ISPIN"] == 2 else []

    def write_contcar(self, atoms) -> None:
        text = f"{LABEL}\n1.0\n{rows(atoms.cell.array)}{' '.join(self.symbols)}\n{' '.join(map(str, self.counts))}\n"
        selective = not all(all(f) for f in self.free)
        text += "Selective dynamics\nDirect\n" if selective else "Direct\n"
        for frac, flags in zip(atoms.get_scaled_positions(wrap=False), self.free, strict=True):
            tail = "  " + " ".join("T" if x else "F" for x in flags) if selective else ""
            text += " ".join(f"{x:19.16f}" for x in frac) + tail + "\n"
        if self.tags["IBRION"] == 0:
            from ase import units

            text += "\n" + exponents(atoms.get_velocities() * units.fs)
            if self.block is not None:
                text += f"\n           1\n   {float(self.tags['POTIM']):.16f}     \n"
                text += exponents(np.array([[self.friction * units.fs, 0.0, 0.0, 0.0]]))
                text += exponents(self.block) + exponents(np.zeros((2 * len(atoms), 3)))
        (self.here / "CONTCAR").write_text(text, encoding="utf-8")

    def footer(self) -> None:
        self.xml.write(
            self.structure_xml(self.last.cell.array, self.last.get_scaled_positions(wrap=False), "finalpos")
        )
        self.xml.write("</modeling>\n")
        self.out.write(
            "\n\n General timing and accounting informations for this job:\n ========================================================\n"
        )
        self.out.write(
            "                  Total CPU time used (sec):        0.100\n                         Elapsed time (sec):        0.100\n\n"
        )


def calculator(atoms):
    if os.environ.get("VASP_STANDIN_CALCULATOR") == "emt":
        from ase.calculators.emt import EMT

        return EMT()
    from epilayer.engines.mlip.toy import ToyPotential

    toy = ToyPotential()
    ties = Path(os.environ.get("VASP_STANDIN_TIES", ""))
    if ties.name:
        from ase.io import read, write

        if not ties.exists():
            write(ties, atoms, format="vasp", direct=True)
        toy.tie(read(ties, format="vasp"))
    return toy


def need(path: Path) -> str:
    if not path.is_file():
        raise RefusedError(f"there is no {path.name}")
    return path.read_text(encoding="utf-8")


def read_incar(text: str) -> dict[str, object]:
    tags: dict[str, object] = {}
    for line in text.splitlines():
        name, equals, value = re.split(r"[#!]", line)[0].partition("=")
        if not equals:
            continue
        tag = name.strip().upper()
        if tag in tags:
            raise RefusedError(f"INCAR states {tag} twice")
        tags[tag] = typed(tag, value.split())
    return tags


def typed(tag: str, words: list[str]) -> object:
    if tag in STRINGS:
        return " ".join(words)
    values: list[object] = []
    for word in words:
        times, star, one = word.partition("*")
        values += [number(one)] * int(times) if star else [number(word)]
    return tuple(values) if tag in VECTORS else values[0]


def number(word: str) -> object:
    upper = word.strip(".").upper()
    if upper in ("T", "TRUE", "F", "FALSE"):
        return upper[0] == "T"
    try:
        return int(word)
    except ValueError:
        try:
            return float(word)
        except ValueError:
            return word


def read_kpoints(text: str) -> tuple[tuple[int, int, int], str]:
    lines = text.splitlines()
    if len(lines) < 4 or lines[1].split()[0] != "0" or lines[2].strip()[:1].upper() not in "GM":
        raise RefusedError("KPOINTS is no automatic mesh")
    i, j, k = (int(word) for word in lines[3].split()[:3])
    return (i, j, k), {"G": "Gamma", "M": "Monkhorst-Pack"}[lines[2].strip()[:1].upper()]


def read_poscar(text: str):
    lines = text.splitlines()
    try:
        cell = float(lines[1]) * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
        symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
        at = 7
        selective = lines[at].strip()[:1].upper() == "S"
        at += selective
        if lines[at].strip()[:1].upper() != "D":
            raise RefusedError("POSCAR is not in direct coordinates")
        body = [line.split() for line in lines[at + 1 : at + 1 + sum(counts)]]
        frac = np.array([row[:3] for row in body], dtype=float)
        if len(frac) != sum(counts) or len(symbols) != len(set(symbols)):
            raise RefusedError("POSCAR is cut short, or names an element twice")
        free = [tuple(flag == "T" for flag in row[3:6]) if selective else (True,) * 3 for row in body]
        rest = [line.split() for line in lines[at + 1 + sum(counts) :] if line.strip()]
        vel = (
            np.array([r[:3] for r in rest[: sum(counts)]], dtype=float) if len(rest) >= sum(counts) else None
        )
    except (IndexError, ValueError) as error:
        raise RefusedError(f"POSCAR cannot be read ({error})") from error
    block = None
    if vel is not None and len(rest) == 4 * sum(counts) + 3:
        block = [np.array(r, dtype=float) for r in rest[sum(counts) + 2 : 2 * sum(counts) + 3]]
    return cell, symbols, counts, frac, free, vel, block


def read_potcar(text: str) -> list[tuple[str, str, float]]:
    found = []
    for dataset in text.split("End of Dataset"):
        titel = re.search(r"TITEL\s*=\s*(.*\S)", dataset)
        element = re.search(r"VRHFIN\s*=\s*([A-Z][a-z]?)", dataset)
        zval = re.search(r"ZVAL\s*=\s*([\d.]+)", dataset)
        if titel and element and zval:
            if "LEXCH  = PE" not in dataset:
                raise RefusedError(f"POTCAR {titel[1]} is not PBE")
            found.append((element[1], titel[1], float(zval[1])))
    if not found:
        raise RefusedError("POTCAR holds no dataset")
    return found


def xml_entry(tag: str, value) -> str:
    if isinstance(value, tuple):
        kind = ' type="int"' if tag in INTEGERS else ""
        text = plain(value) if tag in INTEGERS else " ".join(f"{float(x):.8f}" for x in value)
        return f'  <v{kind} name="{tag}"> {text} </v>\n'
    if isinstance(value, bool):
        return f'  <i type="logical" name="{tag}"> {"T" if value else "F"}  </i>\n'
    if isinstance(value, int):
        return f'  <i type="int" name="{tag}"> {value} </i>\n'
    if isinstance(value, float):
        return f'  <i name="{tag}"> {value:.8f} </i>\n'
    return f'  <i type="string" name="{tag}">{escape(str(value))}</i>\n'


def plain(value) -> str:
    if isinstance(value, tuple):
        return " ".join(str(v) for v in value)
    return {True: ".TRUE.", False: ".FALSE."}[value] if isinstance(value, bool) else str(value)


def energies(free: float, entropy: float, to_zero: float) -> str:
    names = (("e_fr_energy", free), ("e_wo_entrp", free + entropy), ("e_0_energy", free + to_zero))
    return "".join(f'   <i name="{name}"> {value:16.8f} </i>\n' for name, value in names)


def vectors(rows_: np.ndarray) -> str:
    return "".join(f"    <v> {a:16.8f} {b:16.8f} {c:16.8f} </v>\n" for a, b, c in rows_)


def rows(values: np.ndarray) -> str:
    return "".join(" ".join(f"{x:20.16f}" for x in row) + "\n" for row in values)


def exponents(values: np.ndarray) -> str:
    """Write rows as Fortran's E16.8 does: 0.12345678E-02."""
    return "".join("".join(exponent(float(x)) for x in row) + "\n" for row in values)


def read_back(text: str) -> np.ndarray:
    return np.array([row.split() for row in text.splitlines()], dtype=float)


def exponent(value: float) -> str:
    if value == 0:
        return "  0.00000000E+00"
    power = int(np.floor(np.log10(abs(value)))) + 1
    digits = round(abs(value) / 10.0**power * 1e8)
    if digits == 10**8:
        digits, power = 10**7, power + 1
    return f" {'-' if value < 0 else ' '}0.{digits:08d}E{power:+03d}"


def fortran(value: float, digits: int) -> str:
    """Write -123.4 as -.12340000E+03."""
    if not np.isfinite(value):
        return "NaN"
    if value == 0:
        return f"0.{'0' * digits}E+00"
    exponent = int(np.floor(np.log10(abs(value)))) + 1
    mantissa = f"{abs(value) / 10.0**exponent:.{digits}f}"
    if mantissa.startswith("1"):
        exponent, mantissa = exponent + 1, f"{abs(value) / 10.0 ** (exponent + 1):.{digits}f}"
    return f"{'-' if value < 0 else '0'}{mantissa[1:]}E{exponent:+03d}"


if __name__ == "__main__":
    sys.exit(main())
