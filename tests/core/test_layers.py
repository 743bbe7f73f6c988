"""Imports run downwards only: the drawing of the house, as a table that fails when somebody adds an arrow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = frozenset(
    {"__future__", "collections.abc", "dataclasses", "enum", "hashlib", "re", "typing"}
)
"""All of the standard library that the core may know: nothing of it can act."""
BELOW: dict[str, frozenset[str]] = {
    "core": frozenset({"wire"}),
    "wire": frozenset(),
    "ports": frozenset({"core", "wire"}),
    "journal": frozenset({"core", "wire", "ports"}),
    "evidence": frozenset({"core", "wire"}),
    "handles": frozenset({"core", "wire"}),
    "recipes": frozenset({"core", "wire", "evidence"}),
    "triggers": frozenset({"core", "wire", "ports"}),
    "config": frozenset({"core", "wire", "ports", "handles", "evidence", "recipes"}),
    "store": frozenset({"core", "wire", "ports", "journal"}),
    "system": frozenset({"core", "wire", "ports"}),
    "telemetry": frozenset({"core", "wire", "ports", "journal"}),
    "runtime": frozenset({"core", "wire", "ports", "journal"}),
    "api": frozenset({"core", "wire", "ports", "journal"}),
}
"""Which parts of agentd each part may import; ``assemble``, ``main`` and ``__main__`` see everything."""
ACROSS: dict[tuple[str, str], str] = {
    ("api", "agentd.config.access"): "who may call a route is declared there",
    ("api", "agentd.config.definitions"): "plan and apply read the definitions anew",
    ("api", "agentd.config.problems"): "and tell every mistake that is in them",
    (
        "api",
        "agentd.telemetry",
    ): "history and traces are answered by the same folds that export them",
    (
        "api",
        "agentd.runtime",
    ): "a request is posted to the one writer of state, and its answer awaited",
}
"""The arrows between siblings, each with its reason: from a part to a module or to all below a package."""
TOP = frozenset(
    {
        "assemble",
        "main",
        "__main__",
        "__init__",
        "options",
        "rehearsal",
        "retention",
        "slim",
        "applying",
        "exporting",
        "systemd",
        "takeover",
        "upgrade",
    }
)


def part(path: Path) -> str:
    """The first level below ``agentd``: a package or a module."""
    return path.relative_to(ROOT / "agentd").parts[0].removesuffix(".py")


def imported(path: Path, *, typing_too: bool = True) -> set[str]:
    """Every module that the file imports, also inside functions; with ``from a import b`` both a and a.b."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            hidden |= {inner for child in node.body for inner in ast.walk(child)}
    for node in ast.walk(tree):
        if node in hidden and not typing_too:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module(name: str) -> bool:
    """Whether it is a module or package of ours, and not a name inside one."""
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").exists()


def of_agentd(path: Path) -> set[str]:
    """The modules of agentd that the file imports; of a package and a module in it, the module."""
    found = {name for name in imported(path) if name.startswith("agentd.") and module(name)}
    return {name for name in found if not any(o.startswith(f"{name}.") for o in found)}


def within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("path", sources("agentd"), ids=lambda p: str(p.relative_to(ROOT)))
def test_agentd_imports_run_downwards(path: Path) -> None:
    mine = part(path)
    if mine in TOP:
        return
    assert mine in BELOW, f"{mine} has no place in the house: say in BELOW what it may import"
    allowed = {f"agentd.{below}" for below in (*BELOW[mine], mine)}
    allowed |= {to for frm, to in ACROSS if frm == mine}
    upwards = {name for name in of_agentd(path) if not within(name, allowed)}
    assert not upwards, f"{mine} may not import {', '.join(sorted(upwards))}"
    assert not [name for name in imported(path) if name.split(".")[0] == "reloadctl"]


@pytest.mark.parametrize("path", sources("reloadctl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_reloadctl_knows_the_wire_only(path: Path) -> None:
    assert of_agentd(path) <= {"agentd.wire"}


@pytest.mark.parametrize("path", sources("agentd/core"), ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    foreign = {n for n in imported(path) if not n.startswith("agentd")}
    modules = {n if n in PURE or "." not in n else n.rpartition(".")[0] for n in foreign}
    assert modules <= PURE, f"{path.name} imports {', '.join(sorted(modules - PURE))}"


@pytest.mark.parametrize(("mine", "to"), ACROSS)
def test_an_arrow_between_siblings_leads_to_something_and_says_why(mine: str, to: str) -> None:
    assert module(f"agentd.{mine}")
    assert module(to)
    assert ACROSS[mine, to]


def test_an_arrow_to_one_module_is_none_to_its_package() -> None:
    allowed = {to for mine, to in ACROSS if mine == "api"}
    assert within("agentd.telemetry.spans", allowed)
    assert not within("agentd.config.loader", allowed)
    assert not within("agentd.config.accessories", allowed)


def test_there_are_no_circles() -> None:
    arrows: dict[str, set[str]] = {}
    for path in sources("agentd"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        arrows[name] = imported(path, typing_too=False) - {name}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way, name))
        if name not in done:
            for other in arrows[name] & arrows.keys():
                # A package whose __init__ gathers its own modules is no circle: they do not look at it.
                if not name.startswith(f"{other}."):
                    visit(other, (*way, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_the_table_itself_has_no_circles_and_no_arrows_between_siblings() -> None:
    siblings = {"config", "telemetry", "runtime", "api", "triggers", "system", "store"}
    for name in siblings:
        assert not BELOW[name] & siblings
    for mine, to in ACROSS:
        assert {mine, to.split(".")[1]} <= siblings
        assert (to.split(".")[1], mine) not in {(m, t.split(".")[1]) for m, t in ACROSS}
    order: list[str] = []
    while len(order) < len(BELOW):
        free = [n for n, below in BELOW.items() if n not in order and below <= set(order)]
        assert free, f"a circle among {set(BELOW) - set(order)}"
        order += free


def test_heavy_libraries_are_not_loaded_with_the_agent() -> None:
    heavy = {"rich", "typer", "psutil", "tomlkit", "pydantic", "requests", "inspect"}
    for path in sources("agentd"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        loaded = {name.split(".")[0] for name in names} & heavy
        assert not loaded, f"{path.relative_to(ROOT)} loads {', '.join(sorted(loaded))}"
