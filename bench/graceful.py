"""A graceful restart of the same small app, under the same load, by agentd and by what else is used for it.

New connections come at a fixed rate, and kept-alive clients ask on theirs (``tests/real/load.py`` says what counts as lost). A restart
is over when the tool said so and new connections are answered by the new version, ten in a row. Each peer is restarted as its manual
says; a peer that cannot be had here is a row that says why. The longest gap is between two answers on new connections, less what the
load itself was late meanwhile; in brackets as it was seen, when that is more. It prints a table of its own: the peers are more than two.

Alone: ``make bench ONLY=graceful``; some of it: ``graceful.py --bin DIR [--restarts N] [WORD of a peer's name …]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peer_agentd
import peer_circus
import peer_gunicorn
import peer_hand
import peer_pm2
import peer_supervisor
import peer_systemd
from app import TOP, Peer, Site, Unavailable
from bell import ENV, PATIENCE, median
from kit import Place
from table import Figure, at_most, columns

RATE, KEPT, PAUSE = 500, 10, 50
"""New connections a second; kept-alive clients; their milliseconds between two requests."""
REST = 0.5
"""Seconds after each restart, in which what still drains can be lost."""
GAP = 30.0
LOAD = TOP / "tests" / "real" / "load.py"
OURS = "agentd replace, "


@dataclass(frozen=True, slots=True)
class _Way:
    make: Callable[[Site], Peer]
    restarts: int = 20


WAYS: dict[str, _Way] = {
    f"{OURS}plain Python": _Way(peer_agentd.plain),
    f"{OURS}uvicorn": _Way(peer_agentd.uvicorn),
    f"{OURS}gunicorn": _Way(peer_agentd.gunicorn),
    "by hand, one listener, uvicorn": _Way(peer_hand.Hand),
    "gunicorn HUP": _Way(peer_gunicorn.Gunicorn),
    "circus reload, uvicorn": _Way(peer_circus.reload),
    "circus restart, uvicorn": _Way(peer_circus.restart),
    "pm2 reload, 2 in a cluster": _Way(peer_pm2.Pm2),
    "supervisor fcgi, uvicorn": _Way(peer_supervisor.fcgi, 10),
    "supervisor fcgi, 2 in turn": _Way(peer_supervisor.fcgi_in_turn, 10),
    "supervisor restart, uvicorn": _Way(peer_supervisor.plain, 10),
    "systemd socket, uvicorn": _Way(peer_systemd.Systemd),
}
HEAD = (
    "peer", "restarts", "requests", "new: lost", "kept: cut", "kept: lost", "kept: asked again",
    "longest gap", "a restart", "the slowest", "",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """What became of one peer."""

    peer: str
    took: list[float] = field(default_factory=list)
    """Milliseconds of each restart."""
    load: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def requests(self) -> int:
        """All that were sent."""
        kept = self.load["kept"]
        return sum(k["good"] + sum(k["bad"].values()) for k in (self.load, kept))

    @property
    def lost(self) -> int:
        """Of either kind of client, those without a whole answer."""
        return sum(sum(k["bad"].values()) for k in (self.load, self.load["kept"]))

    @property
    def gap(self) -> float:
        """Milliseconds between two good answers on new connections, less what the load itself was late."""
        return float(self.load["gap_ms"]["server"])

    @property
    def gaps(self) -> str:
        """And as it was seen, when that is another figure."""
        seen = self.load["gap_ms"]["new"]
        return f"{self.gap:.0f} ms" + (f" ({seen:.0f})" if seen > self.gap + 5 else "")

    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        if not self.load:
            return (self.peer, *[""] * (len(HEAD) - 2), self.note)
        kept = dict(self.load["kept"]["bad"])
        cut = kept.pop("cut", 0)
        return (
            self.peer, str(len(self.took)), str(self.requests), _kinds(self.load["bad"]), str(cut),
            _kinds(kept), str(sum(self.load["kept"]["retried"].values())),
            self.gaps, f"{median(self.took or [0]):.0f} ms",
            f"{max(self.took or [0]):.0f} ms", self.note,
        )  # fmt: skip


def _kinds(bad: dict[str, int]) -> str:
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(bad.items()))
    return words or "0"


@contextlib.contextmanager
def _load(site: Site) -> Iterator[dict[str, Any]]:
    """Filled with the counts at the end."""
    counts: dict[str, Any] = {}
    options = ("--keep", str(KEPT), "--pause", str(PAUSE))
    process = subprocess.Popen(
        [sys.executable, str(LOAD), str(site.port), str(RATE), *options],
        stdout=subprocess.PIPE, env=ENV,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # the first request has ended
    try:
        yield counts
    finally:
        process.terminate()
        counts |= json.loads(process.communicate(timeout=PATIENCE)[0])


def run(place: Place, name: str, restarts: int | None = None) -> Row:
    """One peer from its start to its end."""
    row, way = Row(name), WAYS[name]
    site = Site(place)
    try:
        peer = way.make(site)
        peer.start()
    except (Unavailable, subprocess.CalledProcessError, OSError, RuntimeError) as why:
        row.note = f"not available: {_line(why)}"
        return row
    try:
        with _load(site) as row.load:
            _restarts(site, peer, row, restarts or way.restarts)
    finally:
        peer.stop()
    return row


def _restarts(site: Site, peer: Peer, row: Row, count: int) -> None:
    time.sleep(REST)
    for version in range(1, count + 1):
        site.say(version)
        began = time.monotonic()
        try:
            peer.restart()
            site.changed(version)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            row.note = f"restart {version}: {_line(error)}"
            return
        row.took.append((time.monotonic() - began) * 1000)
        time.sleep(REST)


def _line(error: Exception) -> str:
    """A log may be part of it."""
    return " ".join(str(error).split())[-200:]


def table(rows: list[Row]) -> str:
    """All peers side by side."""
    return "\n".join(columns([HEAD, *(row.cells() for row in rows)]))


def measure(place: Place) -> list[Figure]:
    rows = [_said(run(place, name)) for name in WAYS]
    per = f"{RATE} new connections/s and {KEPT} kept-alive clients, a request each {PAUSE} ms"
    print(f"graceful restarts under {per}\n{table(rows)}\n", flush=True)
    theirs = next(row for row in rows if row.peer.startswith("supervisor fcgi, 2"))
    return [figure for row in rows if row.peer.startswith(OURS) for figure in _ours(row, theirs)]


def _said(row: Row) -> Row:
    print(f"  {row.peer}: {row.note or 'done'}", file=sys.stderr)
    return row


def _ours(row: Row, theirs: Row) -> list[Figure]:
    app = row.peer.removeprefix(OURS)
    if not row.load:
        return [Figure(f"replace {app}", "", "0 lost", met=False, note=row.note)]
    lost, gap = (str(theirs.lost), theirs.gaps) if theirs.load else ("", "")
    return [
        Figure(
            f"replace {app} under load: lost of {row.requests}",
            str(row.lost), "0", row.lost == 0 and not row.note, lost, note=row.note,
        ),
        Figure(
            f"replace {app} under load: longest gap",
            row.gaps, f"≤ {GAP:g} ms", at_most(GAP, row.gap), gap,
        ),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Graceful restarts under load, peer by peer.")
    parser.add_argument("--bin", type=Path, required=True, help="where agentd is installed")
    parser.add_argument("--restarts", type=int, help="of each peer; default: 20, fewer where slow")
    parser.add_argument("peer", nargs="*", help=f"words of {'; '.join(WAYS)}; default: all")
    options = parser.parse_args()
    wanted = [name for name in WAYS if all(word in name for word in options.peer)]
    place = Place(Path.cwd() / options.bin)
    try:
        rows = [_said(run(place, name, options.restarts)) for name in wanted]
    finally:
        place.close()
    print(table(rows) if rows else f"no peer has {' '.join(options.peer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
