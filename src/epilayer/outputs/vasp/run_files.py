"""The files of one VASP run, read, and what is found out about them on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.model.imported import Agreement, CalculationKind, EnergyWitness, Finding, Reason, Severity
from epilayer.outputs.discover import FoundFiles, Role
from epilayer.outputs.reading import ByteSource, FileState
from epilayer.outputs.vasp import outcar as oc
from epilayer.outputs.vasp import settings as st
from epilayer.outputs.vasp.oszicar import Oszicar, read_oszicar
from epilayer.outputs.vasp.vasprun import Vasprun, read_vasprun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


T = TypeVar("T")

_DIVERGED = "The electronic loop diverged: look at the start's shortest distances, then at ALGO and mixing."


@dataclass
class RunFiles:
    """What is known of one run: the files as read, and step by step what they amount to.

    Attributes
    ----------
    finished
        A file runs to its proper end, with every ionic step whole.
    ended
        A file runs to its proper end without an ionic step of DFT: a run of another kind.
    """

    files: FoundFiles
    vasprun: Vasprun | None = None
    outcar: oc.Outcar | None = None
    oszicar: Oszicar | None = None
    stdout: list[Oszicar] = field(default_factory=list)
    incar_text: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    settings: st.Executed = field(default_factory=st.Executed)
    kind: CalculationKind = CalculationKind.UNKNOWN
    agreement: Agreement = Agreement.NO_WITNESS
    witnesses: tuple[EnergyWitness, ...] = ()
    finished: bool = False
    ended: bool = False
    electronic: bool | None = None
    ionic: bool | None = None
    unconverged: tuple[int, ...] = ()
    max_force_ev_per_ang: float | None = None

    @property
    def steps(self) -> int:
        """Whole ionic steps that the best file holds."""
        counts = [0]
        counts += [len(self.vasprun.energies_ev)] if self.vasprun else []
        counts += [len(self.outcar.steps)] if self.outcar else []
        if not self.vasprun and not self.outcar:
            counts += [len(one.steps) for one in (self.oszicar, *self.stdout) if one]
        return max(counts)

    @property
    def displaces(self) -> bool:
        """Whether every step but the first is displaced, for finite differences."""
        return self.kind is CalculationKind.RESPONSE and self.settings.integer("IBRION") in (5, 6)

    @property
    def machine_learned_steps(self) -> int:
        """Ionic steps that VASP's own force field made, on the way or all through."""
        counts = [self.vasprun.machine_learned_steps] if self.vasprun else []
        counts += [self.outcar.machine_learned_steps] if self.outcar else []
        return max(counts, default=0)

    @property
    def species(self) -> tuple[str, ...]:
        """Element of every atom."""
        if self.vasprun and self.vasprun.header.species:
            return self.vasprun.header.species
        return oc.species(self.outcar.head) if self.outcar else ()

    def report(self, code: Finding, severity: Severity, what: str, remedy: str = "", file: str = "") -> None:
        """Add a reason."""
        self.reasons.append(Reason(code=code, severity=severity, what=what, remedy=remedy, file=file))


def gather(files: FoundFiles) -> RunFiles:
    """Read the files of a run."""
    seen = RunFiles(files)
    _read(seen)
    seen.settings = st.executed(seen.vasprun, seen.outcar, seen.incar_text)
    return seen


def _read(seen: RunFiles) -> None:
    files = seen.files
    seen.vasprun = _try(seen, files.one(Role.VASPRUN), read_vasprun)
    seen.outcar = _try(seen, files.one(Role.OUTCAR), oc.read_outcar)
    seen.oszicar = _try(seen, files.one(Role.OSZICAR), read_oszicar)
    texts = (_try(seen, path, read_oszicar) for path in files.stdout)
    seen.stdout = [text for text in texts if text is not None]
    if incar := files.one(Role.INCAR):
        seen.incar_text = ByteSource(incar).read().decode("latin-1")
        seen.hashes[incar.name] = _hash(incar)
    for part in (seen.vasprun, seen.outcar, seen.oszicar):
        if part is None:
            continue
        for flaw in part.flaws:
            code = flaw.code
            if code is Finding.FILE_DAMAGED and part.state is not FileState.CORRUPT and not _closed(part):
                code = Finding.FILE_TRUNCATED
            remedy = _DIVERGED if code in (Finding.ENERGY_NOT_READABLE, Finding.NUMBER_OVERFLOWS) else ""
            seen.report(code, Severity.NOTE, f"{part.name}: {flaw.what}", remedy, part.name)
    for path in files.not_read:
        seen.report(
            Finding.NOT_READ,
            Severity.NOTE,
            f"{path.name} was not read: it embeds the licensed POTCAR",
            "Keep the vasprun.xml and OUTCAR beside it.",
            path.name,
        )


def _closed(part: Vasprun | oc.Outcar | Oszicar) -> bool:
    if isinstance(part, Vasprun):
        return part.closed
    return part.finished if isinstance(part, oc.Outcar) else False


def _try(seen: RunFiles, path: Path | None, reader: Callable[[Path], T]) -> T | None:
    if path is None:
        return None
    try:
        out = reader(path)
        seen.hashes[path.name] = sha256_file(path)
    except InputError as error:
        empty = path.is_file() and path.stat().st_size == 0
        code = Finding.FILE_TRUNCATED if empty else Finding.FILE_UNREADABLE
        what = f"{path.name} is empty" if empty else error.what
        seen.report(code, Severity.NOTE, what, error.remedy, path.name)
        return None
    return out


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
    except InputError:
        return ""


def text_of(path: Path | None) -> str:
    """Return the text of a small file, empty where there is none."""
    return ByteSource(path).read().decode("latin-1") if path else ""
