"""Find calculations in directories, however they were left there, and import them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from epilayer import __version__
from epilayer.model.base import fingerprint
from epilayer.model.errors import InputError
from epilayer.model.imported import Code
from epilayer.outputs.reading import ByteSource, plain_name

_SNIFF_BYTES = 1 << 16


class Role(Enum):
    """What a file is, whatever it is called."""

    VASPRUN = auto()
    OUTCAR = auto()
    OSZICAR = auto()
    STDOUT = auto()
    INCAR = auto()
    KPOINTS = auto()
    POSCAR = auto()
    POTCAR = auto()
    POTCAR_SPEC = auto()
    CUSTODIAN = auto()
    VASPOUT = auto()
    LOBSTEROUT = auto()
    LOBSTERIN = auto()
    ICOHPLIST = auto()
    ICOOPLIST = auto()
    ICOBILIST = auto()
    COHPCAR = auto()
    BAND_OVERLAPS = auto()


# The suffix (``relax1`` of ``OUTCAR.relax1.gz``) tells two runs in one folder apart.
_NAMES: tuple[tuple[Role, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern, re.IGNORECASE))
    for role, pattern in (
        (Role.VASPRUN, r"vasprun(?:\.(?P<a>.+))?\.xml(?:\.(?P<b>.+))?"),
        (Role.OUTCAR, r"OUTCAR(?:[._-](?P<a>.+))?"),
        (Role.OSZICAR, r"OSZICAR(?:[._-](?P<a>.+))?"),
        (Role.POTCAR_SPEC, r"POTCAR\.spec"),
        (Role.POTCAR, r"POTCAR(?:\.(?P<a>.+))?"),
        (Role.INCAR, r"INCAR(?:\.(?P<a>.+))?"),
        (Role.KPOINTS, r"KPOINTS(?:\.(?P<a>.+))?"),
        (Role.POSCAR, r"POSCAR(?:\.(?P<a>.+))?"),
        (Role.CUSTODIAN, r"custodian\.json"),
        (Role.VASPOUT, r"vaspout(?:\.(?P<a>.+))?\.h5"),
        (Role.STDOUT, r"(?:vasp\.out|vasp_output|vasp\.log|stdout|stderr|std_out(?:\.txt)?)(?:\.(?P<a>.+))?"),
        (Role.STDOUT, r"std_err\.txt(?:\.(?P<a>.+))?"),
        (Role.STDOUT, r"(?:slurm-\d+\.out|slurm-\d+\.err|FW_job-\d+\.(?:out|error)|queue\.(?:out|err))"),
        (Role.STDOUT, r"vasp6?\.(?P<a>\w+)"),
        (Role.LOBSTEROUT, r"lobsterout(?:\.(?P<a>.+))?"),
        (Role.LOBSTERIN, r"lobsterin(?:\.(?P<a>.+))?"),
        (Role.ICOHPLIST, r"ICOHPLIST\.lobster(?:\.(?P<a>.+))?"),
        (Role.ICOOPLIST, r"ICOOPLIST\.lobster(?:\.(?P<a>.+))?"),
        (Role.ICOBILIST, r"ICOBILIST\.lobster(?:\.(?P<a>.+))?"),
        (Role.COHPCAR, r"COHPCAR\.lobster(?:\.(?P<a>.+))?"),
        (Role.BAND_OVERLAPS, r"bandOverlaps\.lobster(?:\.(?P<a>.+))?"),
    )
)
_VASP_OUTPUTS = {Role.VASPRUN, Role.OUTCAR, Role.OSZICAR, Role.STDOUT, Role.VASPOUT}
_LOBSTER_OUTPUTS = {
    Role.LOBSTEROUT, Role.ICOHPLIST, Role.ICOOPLIST, Role.ICOBILIST, Role.COHPCAR, Role.BAND_OVERLAPS,
}  # fmt: skip
_SHARED = {
    Role.POTCAR_SPEC, Role.CUSTODIAN, Role.POTCAR, Role.INCAR, Role.KPOINTS, Role.POSCAR, Role.LOBSTERIN,
}  # fmt: skip
# The inputs as they were before custodian edited them: not what was executed.
_SET_ASIDE = re.compile(r"\.orig$|^error\.\d+")


@dataclass
class FoundFiles:
    """The files of one calculation."""

    folder: Path
    label: str
    code: Code
    by_role: dict[Role, list[Path]] = field(default_factory=dict)

    def one(self, role: Role) -> Path | None:
        """Return the file of a role; the uncompressed one where there are two."""
        paths = self.by_role.get(role, [])
        return min(paths, key=lambda path: (plain_name(path.name) != path.name, path.name)) if paths else None

    @property
    def stdout(self) -> tuple[Path, ...]:
        """Standard output and error of the run and of its job."""
        return tuple(sorted(self.by_role.get(Role.STDOUT, [])))

    @property
    def not_read(self) -> tuple[Path, ...]:
        """Files that hold licensed content, and stay closed."""
        return tuple(self.by_role.get(Role.VASPOUT, []))

    @property
    def has_outputs(self) -> bool:
        """Whether the calculation left anything but its inputs."""
        return any(role in self.by_role for role in (*_VASP_OUTPUTS, *_LOBSTER_OUTPUTS))

    @property
    def signature(self) -> str:
        """Changes whenever a file is added, removed, or rewritten, and with the version that reads them."""
        stamps: list[list[str | int]] = [[__version__]]
        for path in sorted(path for paths in self.by_role.values() for path in paths):
            try:
                status = path.stat()
            except OSError:
                continue
            stamps.append([path.name, status.st_size, status.st_mtime_ns])
        return fingerprint(stamps)


def find_calculations(path: str | Path) -> list[FoundFiles]:
    """Return every VASP and LOBSTER calculation under a directory, or the one that a file is.

    Raises
    ------
    InputError
        When the path does not exist or cannot be read.
    """
    start = Path(path)
    if not start.exists():
        raise InputError(f"{path} does not exist.", "Give a directory or an output file that exists.")
    if start.is_file():
        return [_single(start)]
    found: list[FoundFiles] = []
    for folder, folders, names in os.walk(start):
        folders.sort()
        here = Path(folder)
        found += _in_folder(here, [name for name in sorted(names) if (here / name).is_file()])
    # The inputs that a workflow keeps beside its outputs are not a calculation that never ran.
    ran = {one.folder.parent for one in found if one.has_outputs}
    kept_aside = {"input", "inputs"}
    return [
        one
        for one in found
        if one.has_outputs or one.folder.name.lower() not in kept_aside or one.folder.parent not in ran
    ]


def _in_folder(folder: Path, names: list[str]) -> list[FoundFiles]:
    groups: dict[tuple[Code, str], FoundFiles] = {}
    shared: dict[Role, list[Path]] = {}
    for name in names:
        known = _role(name)
        if known is None:
            continue
        role, label = known
        path = folder / name
        if role in _SHARED:
            if not label:
                shared.setdefault(role, []).append(path)
            continue
        code = Code.LOBSTER if role in _LOBSTER_OUTPUTS else Code.VASP
        group = groups.setdefault((code, label), FoundFiles(folder, label, code))
        group.by_role.setdefault(role, []).append(path)
    _drop_bare_stdout(groups)
    if not groups and Role.INCAR in shared and Role.POSCAR in shared:
        groups[Code.VASP, ""] = FoundFiles(folder, "", Code.VASP)
    inputs_of = {Code.VASP: _SHARED - {Role.LOBSTERIN}, Code.LOBSTER: {Role.LOBSTERIN, Role.CUSTODIAN}}
    # One INCAR beside several runs belongs to one of them, and it is unknown to which.
    several = {code: sum(1 for key in groups if key[0] is code) > 1 for code in (Code.VASP, Code.LOBSTER)}
    for (code, label), group in groups.items():
        if several[code] and label:
            continue
        for role, paths in shared.items():
            if role in inputs_of[code]:
                group.by_role[role] = list(paths)
    return list(groups.values())


def _drop_bare_stdout(groups: dict[tuple[Code, str], FoundFiles]) -> None:
    """Give the scheduler's output to the run beside it; on its own it is a run only without a better one."""
    alone = [key for key, group in groups.items() if set(group.by_role) == {Role.STDOUT} and key[1] == ""]
    others = [key for key in groups if key[0] is Code.LOBSTER]
    for key in alone:
        if others and not any(k[0] is Code.VASP and k != key for k in groups):
            del groups[key]


def _role(name: str) -> tuple[Role, str] | None:
    plain = plain_name(name)
    if _SET_ASIDE.search(plain):
        return None
    for role, pattern in _NAMES:
        found = pattern.fullmatch(plain)
        if found:
            return role, ".".join(part for part in found.groupdict().values() if part)
    return None


def _single(path: Path) -> FoundFiles:
    """Return the calculation that a lone file is, by its content where its name is not known."""
    known = _role(path.name)
    # A name such as vasp.edddav may be any output: the content decides.
    role = _sniff(path) or (known[0] if known else None)
    if role is None:
        return FoundFiles(path, "", Code.UNKNOWN)
    code = Code.LOBSTER if role in _LOBSTER_OUTPUTS else Code.VASP
    return FoundFiles(path, "", code, {role: [path]})


def _sniff(path: Path) -> Role | None:
    head = ByteSource(path).read(_SNIFF_BYTES)
    if head.startswith(b"\x89HDF\r\n"):
        return Role.VASPOUT
    return next((role for role, pattern in _CONTENTS if pattern.match(head)), None)


# In this order: an OUTCAR repeats lines of the standard output, and that the lines of OSZICAR.
_CONTENTS = tuple(
    (role, re.compile(pattern, re.DOTALL))
    for role, pattern in (
        (Role.VASPRUN, rb".{0,4096}?<modeling>"),
        (Role.LOBSTEROUT, rb"LOBSTER v"),
        (Role.ICOHPLIST, rb"\s*CO[A-Z]+#[^\n]*ICOHP"),
        (Role.ICOOPLIST, rb"\s*CO[A-Z]+#[^\n]*ICOOP"),
        (Role.ICOBILIST, rb"\s*CO[A-Z]+#[^\n]*ICOBI"),
        (Role.COHPCAR, rb"[^\n]*pCOHP file generated by LOBSTER"),
        (Role.OUTCAR, rb"\s*vasp\.\d.*POTCAR:"),
        # Standard output that is cut to its steps looks like an OSZICAR, which has nothing else in it.
        (Role.STDOUT, rb"\s+N\s+E\s+dE\s+d eps.*(?:ZBRENT|BRION|curvature|bond charge)"),
        (Role.OSZICAR, rb"\s+N\s+E\s+dE\s+d eps"),
        (Role.STDOUT, rb".*(?:running on\s+\d+|POSCAR found|LAPACK: Routine|VERY BAD NEWS|mpi-ranks)"),
    )
)
