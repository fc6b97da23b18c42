"""Chemical formulas as people write them: groups, bonds, repeats and charges."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from ase.data import chemical_symbols

_SYMBOLS = frozenset(chemical_symbols[1:])
_PART = re.compile(r"(?P<element>[A-Z][a-z]?)|(?P<open>\()|(?P<close>\))|(?P<bond>[-=])")
_COUNT = re.compile(r"\d{1,4}(?:\.\d{1,3})?")
_POLYMER_REPEATS = 3


@dataclass(frozen=True)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    atoms
        Counts by element; a repeat of unknown number (``n``) counts once.
    repeat
        The repeat unit of a polymer, counts by element; ``None`` where there is none.
    repeats
        How many times; ``None`` for ``n``.
    """

    text: str
    atoms: Counter[str] = field(hash=False)
    repeat: Counter[str] | None = field(default=None, hash=False)
    repeats: int | None = None
    charge: int | None = None

    @property
    def heavy(self) -> Counter[str]:
        """Counts of all atoms but hydrogen."""
        return Counter({element: n for element, n in self.atoms.items() if element != "H"})

    @property
    def shown(self) -> str:
        """The formula in Hill's order."""
        return hill(self.atoms)


def hill(atoms: Counter[str]) -> str:
    """Write counts as a formula: C, H, then by the alphabet.

    >>> hill(Counter({"N": 2, "H": 5, "C": 4}))
    'C4H5N2'
    """
    first = [e for e in ("C", "H") if e in atoms]
    order = first + sorted(set(atoms) - set(first))
    return "".join(e + (str(atoms[e]) if atoms[e] != 1 else "") for e in order if atoms[e])


def parse_formula(text: str) -> Formula | None:
    """Return a formula, or nothing where the text is none.

    >>> parse_formula("HO-(CH2O)15-H").shown
    'C15H32O16'
    >>> parse_formula("C3N2H2-CH3").shown
    'C4H5N2'
    >>> parse_formula("HO(CH2CH2O)nH").repeat == Counter({"C": 2, "H": 4, "O": 1})
    True
    >>> parse_formula("VASP") is None
    True
    """
    body, charge = _charge(text.strip().replace("[", "(").replace("]", ")"))
    reading = _Reading(body)
    while reading.at < len(body):
        if not reading.step():
            return None
    if len(reading.stack) != 1 or not reading.stack[0]:
        return None
    return Formula(text, reading.stack[0], reading.repeat, reading.repeats, charge)


class _Reading:
    """The state of a parser: each level of parentheses has its own counts."""

    def __init__(self, body: str) -> None:
        self.body, self.at = body, 0
        self.stack: list[Counter[str]] = [Counter()]
        self.repeat: Counter[str] | None = None
        self.repeats: int | None = None

    def step(self) -> bool:
        """Read one part; return whether it is valid."""
        part = _PART.match(self.body, self.at)
        if part is None:
            return False
        self.at = part.end()
        if part["open"]:
            self.stack.append(Counter())
        elif part["close"]:
            if len(self.stack) == 1 or not self.stack[-1]:
                return False
            return self._add(self.stack.pop(), closed=True)
        elif part["element"]:
            return part["element"] in _SYMBOLS and self._add(Counter({part["element"]: 1}), closed=False)
        return True  # a bond says nothing of the counts

    def _add(self, group: Counter[str], *, closed: bool) -> bool:
        count, self.at, unknown = _count(self.body, self.at, after_group=closed)
        if count is None:
            return False
        carbonic = "C" in group and set(group) <= {"C", "H", "O"}
        if closed and carbonic and (unknown or count >= _POLYMER_REPEATS):
            self.repeat, self.repeats = group, None if unknown else count
        for element, n in group.items():
            self.stack[-1][element] += n * count
        return True


def _count(body: str, at: int, *, after_group: bool) -> tuple[int | None, int, bool]:
    """Return the number behind an element or group, where it ends, and whether it is ``n``."""
    if after_group and body[at : at + 1] in ("n", "x", "m"):
        return 1, at + 1, True
    found = _COUNT.match(body, at)
    if found is None:
        return 1, at, False
    if "." in found[0]:  # a partial occupancy is no molecule
        return None, at, False
    return (int(found[0]) or None), found.end(), False


def _charge(text: str) -> tuple[str, int | None]:
    found = re.search(r"(?<=[A-Za-z0-9)])(?:\^?(\d)?([+-]))$", text)
    if found is None:
        return text, None
    # C2H4+2 and the like are rare; a digit before the sign belongs to the formula (Na+, C4H5N2-).
    sign = 1 if found[2] == "+" else -1
    return text[: found.start(2)].rstrip("^"), sign
