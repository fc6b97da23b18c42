"""The words by which methods paragraphs state things, and how to tell that they deny them."""

# ruff: noqa: E501  (patterns)
from __future__ import annotations

import re
from typing import TYPE_CHECKING

from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXCERPT = 60
_NUMBER = r"(?<![\w.-])(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"

FUNCTIONALS = (
    ("PBEsol", r"\bPBE-?sol\b|\bPBEsol\b|GGA\s?=\s?PS\b"),
    ("HSE06", r"\bHSE-?0?6?\b"),
    ("PBE0", r"\bPBE-?0\b"),
    ("revPBE", r"\brevPBE\b"),
    ("RPBE", r"\bRPBE\b|revised PBE|GGA\s?=\s?RP\b"),
    ("r2SCAN", r"\br\^?2SCAN\b"),
    ("SCAN", r"\bSCAN\b"),
    ("B3LYP", r"\bB3LYP\b"),
    ("optB86b-vdW", r"\boptB86b"),
    ("optB88-vdW", r"\boptB88"),
    ("PW91", r"\bPW91\b|Perdew[- ]Wang"),
    ("PBE", r"\bPBE\b(?!-?(?:0|sol))|Perdew,?[- ]+Burke"),
    ("LDA", r"\bLDA\b|local density approximation"),
)

HUBBARD = (
    r"[Hh]ubbard|(?:DFT|GGA|PBE|LDA)\s?\+\s?U\b|\+\s?U\b|\bU_?eff\b|\bU\s*(?:=|of\b|values?\b|parameters?\b|term)"
    r"|\bU\s?\(|Dudarev|on-site Coulomb|Liechtenstein"
)
DIPOLE = (
    r"(?i)dipole\b[^.;]{0,30}correct|correct[^.;]{0,50}dipole|dipole layer|L?I?DIPOL\b|both (?:faces|sides) of",
)
SPIN = (r"(?i)spin[- ]polari[sz]|spin[- ]unrestricted|collinear spin|ISPIN\s?=\s?2|open[- ]shell",)
CHARGED = (
    r"(?<!un)(?<!un-)(?<!dis)(?<!ly )(?<!dis-)\bcharged\b(?! (?:species|particle|ion|defect|cell|group))"
    r"|fully charged|desodiat|delithiat|deintercalat|state of charge|de-?sodiated"
)
K_POINTS = r"k-?\s?points?|k-?\s?mesh|\bmesh|\bgrid|Monkhorst|Gamma|Brillouin|KPOINTS|k-?space|sampl"
GAMMA_ONLY = (
    r"(?:only (?:at |with )?)?(?:the |a )?(?:single )?\bGamma[- ]?(?:k-)?point\b(?!-?\s?cent)"
    r"|\bGamma only\b|\bGamma alone\b|single k-?point"
)
SYSTEMS = {
    SystemKind.SLAB: r"\bslabs?\b|\bsurfaces?\b|\bfacets?\b",
    SystemKind.MOLECULE: r"\b(?<!inter)(?<!macro)molecules?\b(?! dynamics)|\bligands?\b|\badsorbates?\b|in a box\b|gas[- ]phase",
    SystemKind.PORE: r"\bMOFs?\b|\bframeworks?\b|\bMET-?\d|\bZIF-?\d+|\bpores?\b|electrolyte cell|loaded cell|\bAIMD\b",
    SystemKind.BULK: r"\bbulk\b",
}

_THICKNESS = (
    r"\b(?:\d+|two|three|four|five|six|seven|eight|nine|ten)[- ](?:\w+[- ]){0,2}layer(?:s|ed)?\b"
    r"|\bslabs?\b[^.;]{0,60}\bthick|\bthick(?:ness)?\b[^.;]{0,60}\bslabs?\b"
    r"|\d\s?(?:Å|A|nm)[- ]thick|\bslab\b[^.;]{0,40}\b\d+ atoms\b"
)
_ORDERED = r"(?:Na|Li|K|sodium|lithium|alkali|cation|ion|site|vacanc\w+)"
STATED: dict[str, tuple[str, ...]] = {
    "dispersion": (
        (
            r"\bDFT-?D\d?|\bD[234]\b(?:\s?\(\w+\))?|Grimme|\b[Vv]an der Waals\b(?! (?:radi|sphere|gap|surface))|\bvdW\b(?! radi)"
            r"|(?i:\bdispersion (?:correct|interact|force|energ|term))|(?i:\bdispersion\b(?=\s*[:=]))"
            r"|Tkatchenko|\bMBD\b|rVV10|Becke-?\s?Johnson|(?i:\bdispersion\b)"
        ),
    ),
    "ordering": (
        (
            rf"(?i:(?<!magnetic )(?<!magnetic-)\border(?:ing|ings|ed)\b[^.;]{{0,60}}\b)(?:{_ORDERED})\b"
            rf"|\b{_ORDERED}s?\b[^.;]{{0,40}}(?i:\border(?:ing|ings|ed)\b|\barrangement|\bpartial(?:ly)? occup|\boccupanc)"
            r"|(?i:enumerat\w+ [^.;]{0,40}(?:Na|Li|sodium|lithium|configuration))"
        ),
    ),
    "termination": (r"(?i:terminat)",),
    "slab_thickness": (rf"(?i:{_THICKNESS})",),
    "magnetic_order": (
        (
            r"(?i:(?:anti)?ferromagnet|ferrimagnet|\bmagnetic (?:order|moment|configuration|state|structure)"
            r"|\bhigh[- ]spin|\blow[- ]spin|initial moments|starting moments)|\bAFM\b|\bFM\b|MAGMOM"
        ),
    ),
    "bonding_code": (r"\bLOBSTER\b|\blobster\b|TB-?LMTO|\bSIESTA\b|\bCRYSTAL\d\d\b",),
}
"""Facts whose mere statement counts, by their name in ``MethodsFacts``; the words that state each."""

_DENIED_BEFORE = re.compile(
    r"(?:\bno\b|\bnot\b(?! only)|\bwithout\b|\bneither\b|\bnor\b|\bnever\b|\bneglect\w*|\bomit\w*|\black\w*|\bignor\w*"
    r"|\babsence of\b|\bunstated\b|\bnone\b|\bsilent\b)[^.;:]{0,40}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"^[^.;,]{0,40}?(?:\b(?:is|was|are|were|has been|have been)\s+(?:not|neither|never|neglected|omitted|ignored|absent"
    r"|switched off|left out)\b|[:=]\s*(?:none\b|no\b|not\b|n/a\b|off\b|false\b|unstated|unknown|omitted|-\s*$|\?))",
    re.IGNORECASE,
)
_DENIED_ALL = re.compile(
    r"^\W{0,3}(?:no|neither|none)\b[^.;]*\b(?:is|are|was|were) (?:given|stated|specified|mentioned|reported|described"
    r"|applied|included|used|considered)\b"
    r"|\b(?:not|nor|nowhere) (?:stated|mentioned|given|specified|reported|described|said)\b|\bunstated\b|\bsilent (?:on|about)\b",
    re.IGNORECASE,
)
_VACUUM = re.compile(
    r"(?:\d+(?:\.\d+)?\s*(?:Å|A|nm|angstroms?)[- ]?(?:thick|wide|of)?\s*(?:of )?)?\bvacuum(?:[- ](?:layer|region|slab|gap|space|spacing)s?)?"
    r"(?:\s*(?:of|with|thickness|thicker|larger|more|than|at|least|was|is|a|set|to|about|=|>|~)\b)*\s*(?:\d+(?:\.\d+)?\s*(?:Å|A|nm)\b)?"
    r"(?:[- ]thick(?:ness)?)?",
    re.IGNORECASE,
)


def denied(part: str, found: re.Match[str]) -> bool:
    """Whether a sentence says that what was found in it was not done, or not stated."""
    before, after = part[: found.start()], part[found.end() :]
    # A clause of its own ("no U; dispersion by D3") does not deny the next one.
    clause = re.split(r"\b(?:but|whereas|while|although)\b", before)[-1]
    return bool(_DENIED_BEFORE.search(clause) or _DENIED_AFTER.search(after) or _DENIED_ALL.search(part))


def first_stated(parts: Sequence[str], patterns: Sequence[str]) -> tuple[str, str] | None:
    """Return the first words that state something and are not denied, and what stands around them."""
    for part in parts:
        clean = _VACUUM.sub("vacuum", part)
        for pattern in patterns:
            for found in re.finditer(pattern, clean):
                if not denied(clean, found):
                    return found[0], excerpt(clean, found)
    return None


def numbers(part: str, unit: str) -> list[tuple[float, int]]:
    """Return the numbers that stand before a unit, each with its place."""
    pattern = _NUMBER + r"\s?-?\s?" + f"(?:{unit})"
    return [(float(found[1]), found.start()) for found in re.finditer(pattern, part)]


def excerpt(part: str, found: re.Match[str]) -> str:
    """Return the words around a match, for a reader to find it by."""
    low, high = max(0, found.start() - _EXCERPT), min(len(part), found.end() + _EXCERPT)
    words = " ".join(part[low:high].split())
    return ("..." if low else "") + words + ("..." if high < len(part) else "")
