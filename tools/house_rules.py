"""Rules of the house that no linter knows: module length, VASP tags at home, a unit in every float's name.

Run by ``make check``; prints one line a finding and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "epilayer"
MAX_LINES = 600
UNITS = (
    "ev ev_per_ang ev_per_ang2 ev_per_atom j_per_m2 e e_ang e_per_ang ang ang2 ang3 nm in per_ang "
    "per_nm2 ang2_per_ps cm2_per_s ms_per_cm deg k s ms fs ps per_fs per_ps per_s ion_ps mu_b "
    "g_per_cm3 amu gpa kb mb thz percent fraction ratio scale factor probability share"
)
UNIT_SUFFIXES = tuple(f"_{unit}" for unit in UNITS.split())
VASP_TAGS = {
    "ENCUT",
    "ISPIN",
    "EDIFF",
    "EDIFFG",
    "IBRION",
    "NSW",
    "ISMEAR",
    "SIGMA",
    "LDAU",
    "LDAUU",
    "ALGO",
    "ISIF",
}
ENOUGH_TAGS = 2


def main() -> int:
    """Check every module; return the exit code."""
    findings: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(SOURCE.parent.parent)
        lines = text.count("\n") + 1
        if lines > MAX_LINES:
            findings.append(f"{where}:1: {lines} lines, more than {MAX_LINES}")
        tree = ast.parse(text)
        if "engines" not in path.relative_to(SOURCE).parts:
            findings += [f"{where}:{n.lineno}: a dict of VASP tags outside engines/" for n in tags(tree)]
        findings += [f"{where}:{line}: float {name!r} does not name its unit" for line, name in floats(tree)]
    print("\n".join(findings) or "house rules: clean")
    return 1 if findings else 0


def tags(tree: ast.AST) -> list[ast.Dict]:
    """Dictionaries with at least two keys that are VASP tags."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        and sum(isinstance(k, ast.Constant) and k.value in VASP_TAGS for k in node.keys) >= ENOUGH_TAGS
    ]


def floats(tree: ast.Module) -> list[tuple[int, str]]:
    """Public fields and parameters that are plain floats without a unit in their name.

    A quantity without a unit says so in its type (``Dimensionless``, ``Fraction``) instead.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not has_unit_field(node):
            found += [
                (item.lineno, item.target.id)
                for item in node.body
                if isinstance(item, ast.AnnAssign)
                and isinstance(item.target, ast.Name)
                and is_nameless(item.target.id, item.annotation)
            ]
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [(a.lineno, a.arg) for a in arguments if is_nameless(a.arg, a.annotation)]
    return found


def has_unit_field(node: ast.ClassDef) -> bool:
    """Whether a class carries its unit as a field of its own."""
    return any(
        isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name) and i.target.id == "unit"
        for i in node.body
    )


def is_nameless(name: str, annotation: ast.expr | None) -> bool:
    """Whether a name annotated as a plain float lacks a unit."""
    plain = annotation is not None and ast.unparse(annotation) in ("float", "float | None")
    return plain and not name.startswith("_") and not f"_{name}".endswith(UNIT_SUFFIXES)


if __name__ == "__main__":
    sys.exit(main())
