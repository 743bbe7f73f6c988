"""What is left after a run, as the judge wants it: lines and counts of every process, the journal, spans here and at the receiver."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.soak.judge import Failure, Span, Told, Violation, Voice

if TYPE_CHECKING:
    from tests.soak.world import World
    from tests.telemetry.receiver import Got

_LINE = re.compile(r"(\d{9}) (\d+) .*")


def failures(directory: Path) -> list[Failure]:
    """Of every connection of the load, as ``load.py --tell`` wrote them."""
    found = []
    for path in directory.glob("*.failures"):
        for line in path.read_text().splitlines():
            at, how = line.split(" ", 1)
            found.append(Failure(path.stem, float(at), how))
    return found


def voices(world: World) -> tuple[list[Voice], list[Violation]]:
    """Of every process that counts, and the lines that are no lines."""
    found, torn = [], []
    for name, service in world.services.items():
        if service.kind.app != "counting":
            continue
        heard: dict[int, list[int]] = defaultdict(list)
        for line in _captured(world.dir / "state" / "logs", name):
            if match := _LINE.fullmatch(line):
                heard[int(match[2])].append(int(match[1]))
            else:
                torn.append(Violation("lines", name, f"torn: {line[:100]!r}"))
        for path in world.counts.glob(f"{name}.*"):
            if path.suffix == ".hup":
                continue
            said, last = struct.unpack("QQ", path.read_bytes())
            pid = int(path.suffix[1:])
            process = path.name.removeprefix(f"{name}.")
            found.append(Voice(name, process, said, heard.pop(pid, []), last / 1e9))
        torn += [
            Violation("lines", name, f"pid {pid} never counted, and has {len(its)} lines")
            for pid, its in heard.items()
        ]
    return found, torn


def _captured(logs: Path, name: str) -> list[str]:
    """In the order of the files."""
    old = [p for p in logs.glob(f"{name}.log.*") if p.suffix[1:].isdigit()]
    old.sort(key=lambda p: -int(p.suffix[1:]))
    paths = [p for p in (*old, logs / f"{name}.log") if p.exists()]
    return "".join(p.read_text(errors="replace") for p in paths).splitlines()


def heard(world: World) -> dict[tuple[str, str], list[str]]:
    """Which reloads each process that counts was signalled for; those of all, also without any."""
    found = {}
    for name, service in world.services.items():
        if service.kind.app != "counting":
            continue
        for path in world.counts.glob(f"{name}.*"):
            if path.suffix != ".hup":
                told = path.with_suffix(f"{path.suffix}.hup")
                ids = told.read_text().split() if told.exists() else []
                found[name, path.name.removeprefix(f"{name}.")] = ids
    return found


def reloads(journal: Path) -> list[Told]:
    """By the records themselves."""
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    asked: dict[str, dict[str, Any]] = {}
    judged: dict[str, list[str]] = defaultdict(list)
    signals: Counter[str] = Counter()
    kinds = ("Requested", "Judged", "StepBegan")
    query = f"SELECT reload_id, service, kind, data FROM record WHERE kind IN {kinds} ORDER BY seq"
    for id_, service, kind, data in db.execute(query):
        fact = json.loads(data)
        if kind == "Judged":
            judged[id_].append(fact["verdict"])
        elif kind == "StepBegan":
            signals[id_] += fact["step"].startswith("signal")
        else:
            asked[id_] = {"service": service, "handle": fact["handle"], **fact["cause"]}
    db.close()
    return [
        Told(
            id_,
            asked[id_]["service"] if id_ in asked else "",
            asked[id_]["handle"] if id_ in asked else "",
            asked[id_]["trigger"] if id_ in asked else "never requested",
            tuple(judged[id_]),
            signals[id_],
        )
        for id_ in dict.fromkeys((*asked, *judged))
    ]


def recorded(journal: Path) -> set[tuple[str, int]]:
    """Service and pid of every process that any record names."""
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    query = "SELECT DISTINCT service, json_extract(data, '$.pid') FROM record"
    found = {(service, pid) for service, pid in db.execute(query) if service and pid}
    db.close()
    return found


def spans(document: Any) -> list[Span]:
    """Of one ``GET /v1/reloads/{id}/otlp``."""
    return [
        Span(
            s["spanId"],
            s.get("parentSpanId", ""),
            s["traceId"],
            s["name"],
            int(s["startTimeUnixNano"]),
            int(s.get("endTimeUnixNano", 0)),
        )
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for s in scope["spans"]
    ]


def received(got: list[Got]) -> dict[str, list[str]]:
    """Every span that came, by its id, as text."""
    found: dict[str, list[str]] = defaultdict(list)
    for g in got:
        for span in g.spans:
            found[span.span_id.hex()].append(str(span))
    return found
