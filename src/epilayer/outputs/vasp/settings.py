"""The settings and the level of theory as executed, from whichever files state them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.imported import ExecutedLevel, HubbardU, Potcar, Setting
from epilayer.outputs.reading import ByteSource
from epilayer.outputs.vasp import outcar as oc

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from epilayer.outputs.vasp.outcar import Outcar
    from epilayer.outputs.vasp.vasprun import Vasprun

    Array = NDArray[np.float64]

_COMPARED = ("IBRION", "NSW", "ISPIN", "ISMEAR", "SIGMA", "EDIFF", "GGA", "METAGGA", "NELM")
_ATOMS_LIMIT = 100_000
_WORDS = frozenset({"SYSTEM"})
_INTEGERS = ("NELM", "NSW", "IBRION", "ISMEAR", "ISPIN", "ISIF", "NELMIN")
_PRINTED = (
    *_INTEGERS,
    "ENCUT", "EDIFF", "EDIFFG", "SIGMA", "NELECT", "PREC", "GGA", "LEXCH", "METAGGA", "LASPH", "LREAL",
    "LNONCOLLINEAR", "LSORBIT", "LDIPOL", "IDIPOL", "LHFCALC", "AEXX", "HFSCREEN", "LUSE_VDW",
    "LDAUTYPE", "POTIM", "NBANDS",
)  # fmt: skip
_GGA = {
    "PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05",
    "B3": "B3LYP (VWN3)", "B5": "B3LYP (VWN5)", "OR": "optPBE", "BO": "optB88", "MK": "optB86b", "CA": "LDA",
}  # fmt: skip
_LEXCH = {"8": "PBE", "9": "RPBE", "14": "PBEsol", "7": "PW91", "4": "PW91", "2": "LDA", "10": "AM05"}
_IVDW = {
    0: "none", 1: "D2", 10: "D2", 11: "D3(zero)", 12: "D3(BJ)", 13: "D4", 2: "TS", 20: "TS", 21: "TS/HI",
    202: "MBD", 263: "MBD/FI", 4: "dDsC", 3: "dDsC or ULG", 15: "libMBD",
}  # fmt: skip
_PRECISIONS = {
    "A": "accurate", "N": "normal", "S": "single", "L": "low", "M": "medium", "H": "high",
}  # fmt: skip
_HSE_SCREENING_PER_ANG = (0.19, 0.21)


@dataclass
class Executed:
    """Settings as executed, and what the files contradict one another in.

    Attributes
    ----------
    values
        From vasprun.xml where it has them, else from OUTCAR, else from INCAR.
    incar
        What was set by hand, as the outputs echo it, else as INCAR has it.
    conflicts
        Settings that vasprun.xml and OUTCAR state differently.
    edited
        Settings whose INCAR on disk is not what was executed.
    overridden
        Settings in whose place VASP executed something else, as it says itself.
    """

    values: dict[str, Setting] = field(default_factory=dict)
    incar: dict[str, Setting] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)

    def integer(self, name: str) -> int | None:
        """Return an integer setting, if any file states it."""
        value = self.values.get(name)
        if isinstance(value, float) and value == int(value):
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, name: str) -> float | None:
        """Return a real setting, if any file states it."""
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool | None:
        """Return a logical setting, if any file states it."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else None

    def text(self, name: str) -> str:
        """Return a setting as upper-case text, empty where no file states it."""
        value = self.values.get(name)
        return str(value).strip().upper() if value is not None else ""


def parse_incar(text: str) -> dict[str, Setting]:
    r"""Return the settings of an INCAR, typed by their look; of a tag that is set twice the first counts.

    Units and words that follow a number are passed over, as VASP does.

    >>> parse_incar("ENCUT = 500 eV ; LDAU = .TRUE. # U on V\nMAGMOM = 2*0.0 4*5.0\nALGO = Fast")
    {'ENCUT': 500, 'LDAU': True, 'MAGMOM': (0.0, 0.0, 5.0, 5.0, 5.0, 5.0), 'ALGO': 'Fast'}
    """
    out: dict[str, Setting] = {}
    for line in re.sub(r"\\[ \t]*\r?\n", " ", text).splitlines():
        for part in re.split(r"[#!]", line)[0].split(";"):
            key, equals, value = part.partition("=")
            if equals and re.fullmatch(r"\s*\w+\s*", key):
                name = key.strip().upper()
                out.setdefault(name, value.strip() if name in _WORDS else _typed(value))
    return out


def _typed(value: str) -> Setting:
    words: list[bool | int | float | str | None] = []
    for word in value.split():
        times, star, one = word.partition("*")
        repeated = bool(star) and times.isdigit() and 0 < int(times) < _ATOMS_LIMIT
        typed = _word(one if repeated else word)
        if words and isinstance(typed, str):
            break
        words.extend([typed] * (int(times) if repeated else 1))
    if not words or isinstance(words[0], str):
        return value.strip()
    return words[0] if len(words) == 1 else tuple(words)


def _word(word: str) -> bool | int | float | str:
    if re.fullmatch(r"\.?(T|TRUE)\.?", word, re.IGNORECASE):
        return True
    if re.fullmatch(r"\.?(F|FALSE)\.?", word, re.IGNORECASE):
        return False
    if re.fullmatch(r"[-+]?\d{1,15}", word):
        return int(word)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+)([EeDd][-+]?\d{1,3})?", word):
        number = float(word.upper().replace("D", "E"))
        return number if np.isfinite(number) else word
    return word


def moments_problem(incar: Mapping[str, Setting], atoms: int) -> str:
    """Return in what MAGMOM does not fit the atoms, which ends a run at once; empty where it fits.

    >>> moments_problem(parse_incar("ISPIN = 2 ; MAGMOM = 4*5.0"), 8)
    'MAGMOM has 4 moments where 8 atoms need 8'
    """
    given = incar.get("MAGMOM")
    vectors = bool(incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"))
    if given is None or isinstance(given, str) or not (vectors or incar.get("ISPIN") == 2):  # noqa: PLR2004
        return ""
    count, wanted = len(_listed(given)), 3 * atoms if vectors else atoms
    return f"MAGMOM has {count} moments where {atoms} atoms need {wanted}" if count != wanted else ""


def executed(vasprun: Vasprun | None, outcar: Outcar | None, incar_text: str | None) -> Executed:
    """Join what the files say of the settings."""
    out = Executed()
    on_disk = parse_incar(incar_text) if incar_text else {}
    from_outcar = _outcar_values(outcar) if outcar else {}
    from_vasprun = dict(vasprun.header.parameters) if vasprun else {}
    if "ENMAX" in from_vasprun:
        from_vasprun.setdefault("ENCUT", from_vasprun["ENMAX"])
    echoed: dict[str, Setting] = {}
    if vasprun and vasprun.header.incar:
        echoed = dict(vasprun.header.incar)
        _override(out, echoed, from_vasprun, vasprun.name)
    elif outcar:
        echoed = {key: _typed(value) for key, value in oc.echoed_incar(outcar.head).items()}
    for name in _INTEGERS:
        one, two = from_vasprun.get(name), from_outcar.get(name)
        if isinstance(one, int) and isinstance(two, int) and one != two:
            out.conflicts.append(f"{name} ({one} and {two})")
    cutoffs = [v for v in (from_vasprun.get("ENCUT"), from_outcar.get("ENCUT")) if isinstance(v, float)]
    if cutoffs and max(cutoffs) - min(cutoffs) > 0.1:  # noqa: PLR2004  (OUTCAR prints one decimal)
        out.conflicts.append(f"ENCUT ({cutoffs[0]} and {cutoffs[1]})")
    out.values = {**on_disk, **{k: v for k, v in from_outcar.items() if v is not None}}
    out.values |= {k: v for k, v in echoed.items() if v is not None}
    # The parameter list of vasprun.xml holds the first entry alone of these.
    per_species = ("LDAUL", "LDAUU", "LDAUJ", "LDAUTYPE")
    out.values |= {k: v for k, v in from_vasprun.items() if v is not None and k not in per_species}
    out.incar = echoed or on_disk
    if echoed and on_disk:
        compared = ("ENCUT", "ISPIN", "GGA", "METAGGA", "LDAU", "IVDW", "ISMEAR", "NSW", "IBRION", "LDIPOL")
        out.edited = [name for name in compared if _differ(on_disk.get(name), echoed.get(name))]
    return out


def _override(out: Executed, echoed: dict[str, Setting], done: dict[str, Setting], file: str) -> None:
    """Put what VASP executed in the place of what it was given, where it says that the two differ.

    It turns IBRION off without ionic steps, ISPIN with spin-orbit coupling, and rounds NBANDS and others to
    its own. It never changes the limit of electronic steps: two of them are damage.
    """
    echoed |= {k: re.split(r"\s[!#]", v)[0].strip() for k, v in echoed.items() if isinstance(v, str)}
    for name, given in list(echoed.items()):
        executed = done.get(name)
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (given, executed))
        if not numbers or given == executed:
            continue
        if name == "NELM":
            out.conflicts.append(f"{name} ({given} and {executed} inside {file})")
            continue
        echoed[name] = executed
        if name in _COMPARED:
            out.overridden.append(f"{name} = {executed} in place of {given}")


def _differ(one: Setting, two: Setting) -> bool:
    if one is None or two is None:
        return False
    if isinstance(one, str) or isinstance(two, str):
        return str(one).strip().upper()[:2] != str(two).strip().upper()[:2]
    return one != two


def _outcar_values(outcar: Outcar) -> dict[str, Setting]:
    out: dict[str, Setting] = {}
    printed = oc.parameters(outcar.head)
    for name in _PRINTED:
        text = printed.get(name)
        if text is not None:
            out[name] = _typed(text) if name not in ("PREC", "GGA", "METAGGA", "LEXCH") else text
    for name in ("LDAUL", "LDAUU", "LDAUJ"):
        found = re.findall(rb"for each species " + name.encode() + rb"\s*=\s*([-\d. ]+)", outcar.head)
        if found:
            out[name] = _listed(_typed(found[-1].decode()))
            out["LDAU"] = True
    if out and "LDAU" not in out and "ENCUT" in out:
        out["LDAU"] = False
    return out


def _listed(value: Setting) -> tuple[bool | int | float | str | None, ...]:
    return value if isinstance(value, tuple) else (value,)


def level(
    done: Executed,
    vasprun: Vasprun | None,
    outcar: Outcar | None,
    potcars: tuple[Potcar, ...],
    mesh: tuple[tuple[int, int, int] | None, str | None],
) -> ExecutedLevel:
    """Return the level of theory as executed.

    Parameters
    ----------
    potcars
        From POTCAR or POTCAR.spec on disk; used for what the outputs do not say (hashes).
    mesh
        Divisions and centring of KPOINTS on disk, used where vasprun.xml has none.
    """
    elements = _potcars(vasprun, outcar, potcars)
    dispersion = _dispersion(done, vasprun, outcar)
    divisions, centring = mesh
    count = None
    lattice = None
    if vasprun:
        divisions = vasprun.header.k_divisions or divisions
        centring = vasprun.header.k_centring or centring
        count = vasprun.header.k_points
        lattice = vasprun.last.lattice_ang if vasprun.last else vasprun.header.lattice_ang
    elif outcar:
        found = re.search(rb"NKPTS\s*=\s*(\d+)", outcar.head)
        count = int(found[1]) if found else None
    electrons = done.number("NELECT")
    values = {
        "functional": _functional(done, elements),
        "encut_ev": done.number("ENCUT"),
        "precision": _PRECISIONS.get(done.text("PREC")[:1]),
        "ediff_ev": done.number("EDIFF"),
        "smearing": done.integer("ISMEAR"),
        "sigma_ev": done.number("SIGMA"),
        "spin": _spin(done),
        "aspherical": done.flag("LASPH"),
        "real_space_projection": None if not done.text("LREAL") else done.text("LREAL") != "FALSE",
        "dispersion": dispersion,
    }
    unknown = [name for name in ("functional", "encut_ev", "spin", "dispersion") if values[name] is None]
    if not elements:
        unknown.append("potcars")
    hubbard = _hubbard(done, [potcar.element for potcar in elements])
    if hubbard is None:
        unknown.append("hubbard")
    return ExecutedLevel.model_validate(
        {
            **values,
            "hubbard_type": done.integer("LDAUTYPE") if hubbard else None,
            "hubbard": hubbard or (),
            "dipole_correction": _dipole(done),
            "potcars": elements,
            "k_mesh": divisions,
            "k_centring": centring,
            "k_points": count,
            "k_spacing_per_ang": _spacing(lattice, divisions),
            "electrons": electrons,
            "charge_e": _charge(electrons, elements, vasprun, outcar),
            "unknown": tuple(unknown),
        }
    )


def _functional(done: Executed, potcars: tuple[Potcar, ...]) -> str | None:
    gga = done.text("GGA")
    base = _GGA.get(gga)
    if base is None and gga in ("", "--"):
        base = _LEXCH.get(done.text("LEXCH"))
        kinds = {potcar.titel.split()[0] for potcar in potcars if potcar.titel}
        if base is None and kinds and kinds <= {"PAW_PBE", "PAW_GGA", "PAW"}:
            base = (
                {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA"}[min(kinds)] if len(kinds) == 1 else None
            )
    elif base is None:
        base = gga
    meta = done.text("METAGGA")
    if meta not in ("", "--", "NONE", "F", "FALSE"):
        base = meta
    if done.flag("LHFCALC"):
        exchange, screening = done.number("AEXX"), done.number("HFSCREEN")
        if base is None:
            return None
        low, high = _HSE_SCREENING_PER_ANG
        if base == "PBE" and screening is not None and low < abs(screening) < high:
            base = "HSE06"
        elif base == "PBE" and not screening:
            base = "PBE0"
        return f"{base} (exact exchange {exchange})"
    return base


def _spin(done: Executed) -> str | None:
    if done.flag("LSORBIT"):
        return "spin-orbit"
    if done.flag("LNONCOLLINEAR"):
        return "non-collinear"
    return {1: "none", 2: "collinear"}.get(done.integer("ISPIN") or 0)


def _dispersion(done: Executed, vasprun: Vasprun | None, outcar: Outcar | None) -> str | None:
    if done.flag("LUSE_VDW"):
        return "vdW-DF"
    method = done.integer("IVDW")
    if method is None and done.flag("LVDW"):
        return "D2"
    if method is None:
        # Older versions of VASP do not repeat IVDW: its energy shows that it was there, not which it was.
        added = outcar is not None and outcar.dispersion_ev is not None
        return None if added or added_after_ev(vasprun) or not done.incar else "none"
    return _IVDW.get(method, f"IVDW {method}")


def added_after_ev(vasprun: Vasprun | None) -> float:
    """Return what the last step's energy holds more than that of its last electronic step; 0 for rounding."""
    last = vasprun.last if vasprun else None
    if last is None or last.free_energy_ev is None or last.scf_free_energy_ev is None:
        return 0.0
    added_ev = last.free_energy_ev - last.scf_free_energy_ev
    return added_ev if abs(added_ev) > 1e-6 else 0.0  # noqa: PLR2004  (two numbers of eight decimals)


def _dipole(done: Executed) -> str | None:
    on = done.flag("LDIPOL")
    if on is None:
        return None
    axis = done.integer("IDIPOL")
    return f"along {axis}" if on else ("energy only, along " + str(axis) if axis else "none")


def _hubbard(done: Executed, elements: list[str]) -> tuple[HubbardU, ...] | None:
    on = done.flag("LDAU")
    if not on:
        return () if on is False or done.incar else None
    lists = [_listed(done.values.get(name, ())) for name in ("LDAUL", "LDAUU", "LDAUJ")]
    if any(len(one) != len(elements) for one in lists[:2]):
        return None
    shells, u_values, j_values = lists
    if len(j_values) != len(elements):
        j_values = (0.0,) * len(elements)
    out = []
    for element, shell, u, j in zip(elements, shells, u_values, j_values, strict=True):
        if not all(isinstance(value, int | float) for value in (shell, u, j)):
            return None
        if int(shell or 0) >= 0 and (float(u or 0) or float(j or 0)):
            out.append(
                HubbardU(
                    element=element, angular_momentum=int(shell or 0), u_ev=float(u or 0), j_ev=float(j or 0)
                )
            )
    return tuple(out)


def _potcars(vasprun: Vasprun | None, outcar: Outcar | None, disk: tuple[Potcar, ...]) -> tuple[Potcar, ...]:
    hashes = {potcar.titel: potcar.sha256 for potcar in disk if potcar.sha256}
    listed: list[Potcar] = []
    printed = oc.titels(outcar.head) if outcar else []
    if vasprun and vasprun.header.potentials:
        hashes |= {titel: sha for _, titel, sha, _ in printed if sha and titel not in hashes}
        listed = [
            Potcar(element=element, titel=titel, sha256=hashes.get(titel), valence_e=valence)
            for element, titel, valence in vasprun.header.potentials
        ]
    elif printed:
        listed = [
            Potcar(element=element, titel=titel, sha256=hashes.get(titel) or sha, valence_e=valence)
            for element, titel, sha, valence in printed
        ]
    return tuple(listed) or disk


def _spacing(lattice: Array | None, divisions: tuple[int, int, int] | None) -> float | None:
    """Return the widest gap between neighbouring k-points, 2 pi included, 1/A."""
    if lattice is None or divisions is None or min(divisions) < 1 or abs(np.linalg.det(lattice)) < 1e-6:  # noqa: PLR2004
        return None
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(lattice).T, axis=1)
    return round(float(np.max(lengths / np.array(divisions))), 6)


def _charge(
    electrons: float | None, potcars: tuple[Potcar, ...], vasprun: Vasprun | None, outcar: Outcar | None
) -> float | None:
    atoms = vasprun.header.species if vasprun else (oc.species(outcar.head) if outcar else ())
    valences = {potcar.element: potcar.valence_e for potcar in potcars}
    numbers = [valences.get(element) for element in atoms]
    known = [number for number in numbers if number is not None]
    if electrons is None or not numbers or len(known) != len(numbers):
        return None
    return round(sum(known) - electrons, 6)


def potcar_hashes(path: Path | None) -> tuple[Potcar, ...]:
    """Return element, TITEL and SHA-256 of each dataset of a POTCAR; nothing else of it is kept."""
    if path is None:
        return ()
    out = []
    for dataset in re.split(rb"(?<=End of Dataset)[^\n]*\n", ByteSource(path).read()):
        titel = re.search(rb"TITEL\s*=\s*([^\n]*?)\s*\n", dataset)
        element = re.search(rb"VRHFIN\s*=\s*([A-Z][a-z]?)", dataset)
        if titel and element:
            name = " ".join(titel[1].decode("latin-1").split())
            digest = hashlib.sha256(dataset).hexdigest()
            out.append(Potcar(element=element[1].decode(), titel=name, sha256=digest))
    return tuple(out)


def kpoints_mesh(text: str) -> tuple[tuple[int, int, int] | None, str | None]:
    """Return the divisions and the centring of an automatic KPOINTS file."""
    lines = text.splitlines()
    if len(lines) < 4 or lines[1].split()[:1] != ["0"]:  # noqa: PLR2004
        return None, None
    style = lines[2].strip()[:1].upper()
    numbers = re.findall(r"\d+", lines[3])
    if style not in ("G", "M") or len(numbers) < 3:  # noqa: PLR2004
        return None, None
    return (int(numbers[0]), int(numbers[1]), int(numbers[2])), {"G": "Gamma", "M": "Monkhorst-Pack"}[style]
