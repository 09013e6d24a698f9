"""Imports point left only, and the core needs numpy alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "crossworld"

# part -> the other parts it may import, wherever the import stands (a function's imports too)
MAY: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    "io": {"core", "errors"},
    "document": {"core", "errors"},
    "catalog": {"errors"},
    "decoders": set(),
    "infer": {"core", "errors"},
    "forwhom": {"core", "errors", "infer"},
    "tables": {"core", "errors"},
    "reasoning": {"core", "decoders", "errors", "tables"},
    "internals": {"core", "decoders", "errors", "infer", "io", "tables"},
    "generative": {"core", "errors", "tables"},
    "refute": {"core", "errors", "infer", "tables", "catalog"},
    "compare": {"core", "errors", "infer", "tables"},
    "sensitivity": {"core", "errors", "infer", "tables"},
    "report": {"core", "errors", "io"},
    "datasets": {"core", "errors", "io", "tables"},
    "interop": {"core", "errors", "infer", "tables", "reasoning", "internals"},
    "scale": {"core", "errors", "infer", "tables"},
    "spec": {
        "core",
        "document",
        "errors",
        "catalog",
        "infer",
        "tables",
        "reasoning",
        "internals",
        "refute",
    },
    "serve": {"core", "errors", "io", "spec", "report"},
    "watching": {"core", "document", "errors", "io", "spec", "tables", "reasoning"},
    "cli": {
        "core",
        "document",
        "errors",
        "io",
        "spec",
        "report",
        "datasets",
        "serve",
        "catalog",
        "internals",
        "reasoning",
        "watching",
        "interop",
    },
}
# part -> what it may import from outside the standard library
OUTSIDE = {
    "errors": set(),
    "catalog": set(),
    "core": {"numpy"},
    "infer": {"numpy", "joblib", "threadpoolctl"},
    "forwhom": {"numpy", "scipy", "sklearn"},
    "report": {"numpy", "jinja2", "matplotlib"},
    "spec": set(),
}
# the one arrow that points right: what the core imports at call time, by name
LATE = {
    "core.graph.text", "infer.wald", "interop.graphs", "io", "report.figures", "report.graphs",
    "refute.run", "report.html", "report.markdown", "report.pictures",
    "sensitivity.illustrate", "spec",
}  # fmt: skip

# heavy libraries are imported inside functions, so that importing a module costs nothing
HEAVY = {
    "formulaic", "guidance", "inspect_ai", "jinja2", "joblib", "matplotlib", "mlflow", "narwhals",
    "networkx", "pandas", "polars", "pyarrow", "rich", "sklearn", "statsmodels", "torch",
    "transformers", "wandb",
}  # fmt: skip


def files() -> list[Path]:
    return sorted(f for f in SRC.rglob("*.py") if f.parent != SRC or f.name != "__init__.py")


def part_of(file: Path) -> str:
    return file.relative_to(SRC).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported, relative imports refused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            yield from (
                [f"crossworld.{a.name}" for a in node.names] if module == "crossworld" else [module]
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


every_file = pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(SRC)))


@every_file
def test_imports_point_left(file: Path) -> None:
    part = part_of(file)
    assert part in MAY, f"say in MAY what {part} may import"
    for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
        if name.split(".")[0] == "crossworld":
            target = [*name.split("."), ""][1]
            if target in ("", "__version__"):
                continue
            assert target == part or target in MAY[part], f"{part} must not import {name}"


@every_file
def test_light_parts_import_little_from_outside(file: Path) -> None:
    allowed = OUTSIDE.get(part_of(file))
    if allowed is None:
        return
    own = {"crossworld", *sys.stdlib_module_names}
    names = {name.split(".")[0] for name in imported(ast.parse(file.read_text(encoding="utf-8")))}
    assert names - own <= allowed


@every_file
def test_heavy_libraries_are_imported_inside_functions(file: Path) -> None:
    if part_of(file) in ("cli", "serve"):
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    guarded = [
        n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
    ]
    at_top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not any(isinstance(n, ast.Try) for n in tree.body), "an import hidden in a try"
    names = {m.split(".")[0] for n in at_top for m in imported(n)}
    assert not names & HEAVY
    assert len(guarded) <= 1


def test_the_parts_have_an_order() -> None:
    """No two parts may import each other, at any distance."""
    done: set[str] = set()
    while len(done) < len(MAY):
        free = {part for part in MAY if part not in done and MAY[part] <= done}
        assert free, f"a cycle among {sorted(set(MAY) - done)}"
        done |= free


def test_the_core_reaches_right_only_by_name() -> None:
    for file in (SRC / "core").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "late":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), ast.unparse(node)
                assert argument.value in LATE, ast.unparse(node)
            elif node.func.id in ("import_module", "__import__"):
                assert file.name == "late.py"
