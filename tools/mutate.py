"""Breaks the core in many small ways and sees whether its tests notice.

Every mutant is a copy of the core in a directory of its own with one change of its syntax tree; the core's tests run
first, the simulator and the state machine only for those that live on. Mutants that change nothing which anybody could
see are listed with a reason in mutants.toml. Fails when less than 95 of 100 others are noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import io
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
KNOWN = ROOT / "tools" / "mutants.toml"
CORE = ("backoff", "boot", "host", "ids", "instance", "manifest", "order", "process", "reload")
MORE = ("reload_act", "reload_prepare", "reload_value", "service", "value", "context")
PARTS = ("instance_rows", "instance_value", "service_asks", "service_machines", "service_value")
GENERATIONS = (
    "reload_commit",
    "reload_confirm",
    "reload_generations",
    "service_generations",
    "service_verdict",
)
NEWER = ("instance_adopt", "instance_drain", "plan", "saying", "service_clocks", "steps")
ALL = (*CORE, *MORE, *PARTS, *GENERATIONS, *NEWER)
FIRST = (
    *("reload", "service", "instance", "generations", "steps", "boot", "left", "restart"),
    *("trial", "plan", "saying", "host", "values", "totality"),
)
"""Those that notice most come first."""
OWN = {
    "context": "context",
    "instance_adopt": "boot",
    "instance_drain": "generations",
    "instance_rows": "instance",
    "instance_value": "instance",
    "service_asks": "service",
    "service_clocks": "trial",
    "service_generations": "generations",
    "service_machines": "service",
    "service_value": "service",
    "service_verdict": "service",
    "order": "host",
    "reload_act": "reload",
    "reload_commit": "reload",
    "reload_confirm": "reload",
    "reload_generations": "generations",
    "reload_prepare": "reload",
    "reload_value": "reload",
}
"""Which test file notices most of a module's mutants, where it has not the module's name."""
NEEDED = ("pyproject.toml", "tools")
SECONDS = 90
"""Of processor time, after which a mutant that still runs counts as noticed: it loops."""
ENOUGH = 0.95
COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ENUMS = {
    "Phase": (
        *("DOWN", "STARTING", "READY", "DRAINING", "STOPPING", "KILLING", "BACKOFF", "FAILED"),
    ),
    "Stage": (
        *("QUEUED", "SETTLING", "READING", "CHECKING", "BASELINE", "SENDING", "PERFORMING"),
        *("ENDING", "CLEARING", "REPLACING", "SWITCHING", "CONFIRMING"),
    ),
    "Verdict": (
        *("APPLIED", "REJECTED", "REFUSED", "TIMED_OUT", "UNVERIFIED", "FAILED", "CANCELLED"),
        *("UNCHANGED", "HELD"),
    ),
    "Ending": ("ASKED", "BY_ITSELF", "TOO_SLOW"),
    "Act": ("RECIPE", "LAUNCH", "RESTART", "REPLACE"),
    "Want": ("UP", "DOWN"),
}
ENUMS |= {"_P": ENUMS["Phase"], "_S": ENUMS["Stage"]}


@dataclass(frozen=True)
class Mutant:
    """One change: which node of which module, and what becomes of it."""

    module: str
    function: str
    line: int
    node: int
    kind: str
    part: int
    text: str
    ordinal: int = 0

    @property
    def id(self) -> str:
        """Stable while the function stays as it is, wherever it moves."""
        return f"{self.module}.{self.function}: {self.kind} {self.text} #{self.ordinal}"


def nodes(tree: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Every node that decides, with the function that it is in: no asserts, no defaults of fields, no decorators."""
    declares = set(tree.decorator_list) if isinstance(tree, ast.ClassDef) else set()
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Assert | ast.Import | ast.ImportFrom) or child in declares:
            continue
        if isinstance(tree, ast.ClassDef) and isinstance(child, ast.AnnAssign):
            continue
        inside = child.name if isinstance(child, ast.FunctionDef | ast.ClassDef) else function
        yield child, inside
        yield from nodes(child, inside)


def sites(tree: ast.AST, module: str) -> Iterator[Mutant]:
    """Every change that can be made."""
    for n, (node, function) in enumerate(nodes(tree)):
        for kind, part, text in changes(node):
            yield Mutant(module, function, getattr(node, "lineno", 0), n, kind, part, text)


def changes(node: ast.AST) -> Iterator[tuple[str, int, str]]:  # noqa: C901 - a table
    """What can be done to this node."""
    match node:
        case ast.Compare(ops=ops):
            yield from (("compare", n, ast.unparse(node)) for n in range(len(ops)))
        case ast.BoolOp():
            yield "and-or", 0, ast.unparse(node)
        case ast.UnaryOp(op=ast.Not()):
            yield "not", 0, ast.unparse(node)
        case ast.If(test=test) | ast.IfExp(test=test) if "TYPE_CHECKING" not in ast.unparse(test):
            yield "negate", 0, ast.unparse(test)
        case ast.Constant(value=bool()):
            yield "flip", 0, ast.unparse(node)
        case ast.Constant(value=int() | float()):
            yield "number", 0, ast.unparse(node)
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in ENUMS.get(name, ()):
            yield "member", 0, ast.unparse(node)
        case ast.Dict(keys=keys) if len(keys) > 5:
            yield from (("row", n, ast.unparse(k) if k else "**") for n, k in enumerate(keys))
        case ast.Call(func=ast.Name(id="replace"), keywords=keywords):
            yield from (("keep", n, ast.unparse(k)) for n, k in enumerate(keywords))
        case ast.Tuple(elts=elts, ctx=ast.Load()) if effects(elts):
            yield from (("drop", n, ast.unparse(e)) for n, e in enumerate(elts))
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield "skip", 0, ast.unparse(node)
        case _:
            pass


def effects(elements: list[ast.expr]) -> bool:
    """Whether a tuple holds effects or notes rather than a function's results."""
    made = {"Arm", "Disarm", "Cancel", "Kill", "Forget", "TakeSnapshot", "RunCheck", "TakeBaseline"}
    made |= {"Count", "Switch"}
    names = {"arm", "timer", "spawn", "ask", "look", "send", "effects", "notes", "more", "launch"}
    names |= {"began", "looked", "confirmed", "confirming"}
    for e in elements:
        match e:
            case ast.Call(func=ast.Name(id=name)) if name in made:
                return True
            case ast.Starred(value=ast.Name(id=name)) if name in names:
                return True
            case ast.Name(id=name) if name in names and len(elements) == 1:
                return True
            case ast.Name(id="spawn"):
                return True
            case _:
                pass
    return False


def mutated(source: str, mutant: Mutant) -> str:
    """The module's text with this one change."""
    tree = ast.parse(source)
    node = next(node for n, (node, _) in enumerate(nodes(tree)) if n == mutant.node)
    new = change(copy.deepcopy(node), mutant)
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is node for item in value):
                setattr(parent, name, [new if item is node else item for item in value])
    return ast.unparse(ast.fix_missing_locations(tree))


def change(node: ast.AST, m: Mutant) -> ast.AST:  # noqa: C901 - a table
    """The node as the mutant wants it."""
    match node:
        case ast.Compare(ops=ops):
            ops[m.part] = COMPARE[type(ops[m.part])]()
        case ast.BoolOp(op=op):
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.UnaryOp():
            return node.operand
        case ast.If() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value) | float(value)):
            node.value = value + 1
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            members = ENUMS[name]
            node.attr = members[(members.index(attr) + 1) % len(members)]
        case ast.Dict():
            del node.keys[m.part], node.values[m.part]
        case ast.Call():
            del node.keywords[m.part]
        case ast.Tuple():
            del node.elts[m.part]
        case _:
            return ast.Pass()
    return node


def every(modules: tuple[str, ...]) -> list[Mutant]:
    """All mutants, numbered where a function has the same change twice."""
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for module in modules:
        tree = ast.parse((ROOT / "agentd" / "core" / f"{module}.py").read_text(encoding="utf-8"))
        for m in sites(tree, module):
            n = seen[m.id] = seen.get(m.id, -1) + 1
            found.append(Mutant(**{**vars(m), "ordinal": n}))
    return found


def noticed(frozen: Path, mutant: Mutant | None) -> tuple[Mutant | None, str]:
    """How the tests noticed it; empty: they did not. Runs in a process of its own; None is the core as it is."""
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        links(frozen, there)
        if mutant is not None:
            target = there / "agentd" / "core" / f"{mutant.module}.py"
            text = mutated(target.read_text(encoding="utf-8"), mutant)
            target.unlink()
            target.write_text(text, encoding="utf-8")
        os.chdir(there)
        sys.path[:] = [place, *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        signal.signal(signal.SIGPROF, too_long)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                return mutant, stages(there, mutant.module if mutant else "values")
        except (TimeoutError, Warning):  # a warning: where an exception could not be raised
            return mutant, "it loops"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def links(frozen: Path, there: Path) -> None:
    """A tree that is the other one but for what is replaced in it. Compiled files are read there and never written."""
    (there / "agentd" / "core").mkdir(parents=True)
    (there / "tests").mkdir()
    for place in ("agentd/core", "agentd", "tests", "."):
        for part in (frozen / place).iterdir():
            link = there / place / part.name
            if part.name in NEEDED or (place != "." and not link.exists()):
                link.symlink_to(part)
    sys.dont_write_bytecode = True


def too_long(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is Python's
    """For the timer."""
    raise TimeoutError


def stages(there: Path, module: str) -> str:
    """The tests that are likely to notice, the other fast ones, then the slow ones."""
    import pytest  # noqa: PLC0415 - loaded by the parent before the fork, found here by name

    quiet = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    own = OWN.get(module, module if module in FIRST else "values")
    for names in ((own,), tuple(name for name in FIRST if name != own)):
        if pytest.main([*quiet, *(str(there / "tests/core" / f"test_{n}.py") for n in names)]):
            return "tests"
    chaos = importlib.import_module("tests.sim.chaos")  # of this copy
    scenarios = importlib.import_module("tests.sim.scenarios")
    try:
        for name in scenarios.STORIES:
            for k in range(scenarios.tell(name).performed, 0, -3):
                scenarios.tell(name, k)
        for seed in range(40):
            chaos.run(seed, 500)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it was noticed
        return f"simulator: {error}"
    machine = str(there / "tests" / "core" / "test_machine.py")
    return "machine" if pytest.main([*quiet, machine]) else ""


def main() -> int:
    """0: enough of them were noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="only so many, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", choices=ALL)
    parser.add_argument("--match", default="", help="only those with this in their id")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8))
    args = parser.parse_args()
    known = tomllib.loads(KNOWN.read_text(encoding="utf-8"))["equivalent"]
    reasons = {entry["id"]: entry["why"] for entry in known}
    all_of_them = every(tuple(args.module or ALL))
    stale = set() if args.module else reasons.keys() - {m.id for m in all_of_them}
    todo = [m for m in all_of_them if m.id not in reasons and args.match in m.id]
    if args.sample:
        todo = random.Random(args.seed).sample(todo, min(args.sample, len(todo)))
    preload()
    began, lived = time.monotonic(), []
    fork = multiprocessing.get_context("fork")  # one thread here, and pytest is loaded only once
    with (
        tempfile.TemporaryDirectory() as place,
        fork.Pool(args.jobs, maxtasksperchild=1) as pool,
    ):
        frozen = Path(place)
        freeze(frozen)
        _, broken = pool.apply(noticed, (frozen, None))
        if broken:
            print(f"the core as it is fails its own tests: {broken}")
            return 1
        for n, (mutant, how) in enumerate(pool.imap_unordered(partial(noticed, frozen), todo), 1):
            if mutant is not None and not how:
                lived.append(mutant)
                print(f"[{n}/{len(todo)}] SURVIVED {mutant.line}: {mutant.id}", flush=True)
    share = 1 - len(lived) / max(len(todo), 1)
    took = time.monotonic() - began
    print(f"{len(todo)} mutants, {len(lived)} survived, {share:.1%} noticed, {took:.0f} s")
    for entry in sorted(stale):
        print(f"mutants.toml excuses what is no mutant any more: {entry}")
    return int(share < ENOUGH or bool(stale))


def freeze(frozen: Path) -> None:
    """What the checkout is now: somebody may go on editing it."""
    for part in ("agentd", "tests/core", "tests/sim", "tools", "man"):
        shutil.copytree(ROOT / part, frozen / part)
    shutil.copy2(ROOT / "pyproject.toml", frozen)


def preload() -> None:
    """What every mutant's process needs and no mutant changes."""
    import hypothesis.stateful  # noqa: PLC0415 - only for the runs, not for --help
    import pytest  # noqa: PLC0415

    assert hypothesis.stateful
    assert pytest


if __name__ == "__main__":
    sys.exit(main())
