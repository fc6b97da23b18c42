"""Rules of the house that no linter knows: lengths, circles, VASP tags at home, a unit in every float's name.

Run by ``make check``; prints one line a finding and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = Path(__file__).resolve().parent.parent / "src" / "epilayer"
MAX_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
EXCEPTIONS = {
    "src/epilayer/cli/analyse.py:transport": "a typer command: its options",
    "src/epilayer/cli/build.py:slab": "a typer command: its options",
    "src/epilayer/cli/build.py:adsorbates": "a typer command: its options",
    "src/epilayer/cli/build_match.py:match": "a typer command: its options",
    "src/epilayer/cli/build_pore.py:pore": "a typer command: its options",
    "src/epilayer/cli/query.py:query": "a typer command: its options",
    "src/epilayer/cli/reruns.py:rerun": "a typer command: its options",
    "src/epilayer/cli/runs.py:run": "a typer command: its options",
    "src/epilayer/cli/runs.py:submit": "a typer command: its options",
    "src/epilayer/flows/bonding.py:scan_orientations": "a job: its arguments are its identity",
    "src/epilayer/flows/bonding.py:walk_path": "a job: its arguments are its identity",
    "src/epilayer/flows/bonding.py:judge_bonds": "a job: its arguments are its identity",
    "src/epilayer/flows/bonding.py:bond_study": "what a workflow's settings set",
    "src/epilayer/flows/given.py:given_adsorption": "a workflow: its parameters are what --set sets",
    "src/epilayer/flows/studies.py:adsorption_study": "a workflow: its parameters are what --set sets",
}
"""Functions that may be longer or take more parameters, and why."""
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
    trees: dict[str, ast.Module] = {}
    excepted = dict(EXCEPTIONS)
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(SOURCE.parent.parent).as_posix()
        lines = text.count("\n") + 1
        if lines > MAX_LINES:
            findings.append(f"{where}:1: {lines} lines, more than {MAX_LINES}")
        tree = ast.parse(text)
        trees[".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")] = (
            tree
        )
        for line, name, what in large_functions(tree):
            if excepted.pop(f"{where}:{name}", None) is None:
                findings.append(f"{where}:{line}: {name} has {what}")
        if "engines" not in path.relative_to(SOURCE).parts:
            findings += [f"{where}:{n.lineno}: a dict of VASP tags outside engines/" for n in tags(tree)]
        findings += [f"{where}:{line}: float {name!r} does not name its unit" for line, name in floats(tree)]
    findings += [f"tools/house_rules.py:1: {name} is no exception any more" for name in excepted]
    findings += [f"{' -> '.join(circle)}: modules that import each other" for circle in circles(trees)]
    print("\n".join(findings) or "house rules: clean")
    return 1 if findings else 0


def large_functions(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Functions that are too long or take too many parameters: line, name and what is wrong."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        parameters = sum(one.arg not in ("self", "cls") for one in given)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            found.append((node.lineno, node.name, f"{lines} lines, more than {MAX_FUNCTION_LINES}"))
        elif parameters > MAX_PARAMETERS:
            found.append((node.lineno, node.name, f"{parameters} parameters, more than {MAX_PARAMETERS}"))
    return found


def circles(trees: Mapping[str, ast.Module]) -> list[list[str]]:
    """Find modules that import each other, also inside functions; type-checking imports do not count."""
    graph = nx.DiGraph()
    for module, tree in trees.items():
        graph.add_edges_from((module, other) for other in imports(tree, trees) if other != module)
    return [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]


def imports(node: ast.AST, trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Yield our modules that are imported below a node when the code runs, at its start or later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in trees)
        elif isinstance(child, ast.ImportFrom) and child.module:
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in trees else child.module for name in names)
        else:
            yield from imports(child, trees)


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
