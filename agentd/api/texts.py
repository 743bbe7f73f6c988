"""Services as JSON text, fast: drawn once for each value a service has, only what it costs is put in anew.

Values are frozen, so identity tells whether one is still the same. A thousand services are then a thousand joins of strings
and not a thousand documents. What stands in them is decided by ``views``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from agentd.api import views
from agentd.api.costs import Cost, Costs, Who
from agentd.api.disk import Disk, Found
from agentd.core.service import Service

_HERE = Cost("\0", "\0", "\0")  # type: ignore[arg-type]  # a mark: its quotes cannot stand inside a JSON string
_MARK = '"uptime_s":"\\u0000","cpu_percent":"\\u0000","rss_bytes":"\\u0000"'
_UNKNOWN = Cost()


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One service, in pieces around what each of its instances costs."""

    service: Service
    disk: Found
    pieces: tuple[str, ...]


class Texts:
    """What was drawn so far, by service."""

    def __init__(self, disk: Disk, costs: Costs, identify: views.Identify) -> None:
        self._disk = disk
        self._costs = costs
        self._identify = identify
        self._drawn: dict[str, _Drawn] = {}

    def of(self, services: Sequence[Service], known: Collection[str]) -> list[str]:
        """One JSON object each. ``known``: every service there is; nothing is kept of others."""
        alive = {
            (s.spec.name, i.generation): i.process
            for s in services
            for i in views.generations(s)
            if i.process
        }
        costs = self._costs.of(tuple(alive.items()))
        if len(self._drawn) > len(known):
            self._drawn = {name: d for name, d in self._drawn.items() if name in known}
        if len(services) == len(known):
            self._costs.forget(alive)
        return [self._text(s, costs) for s in services]

    def _text(self, s: Service, costs: Mapping[Who, Cost]) -> str:
        name = s.spec.name
        disk = self._disk.newest(name)
        drawn = self._drawn.get(name)
        if drawn is None or drawn.service is not s or drawn.disk is not disk:
            here = (_HERE,) * len(views.generations(s))
            document = views.service(s, disk, here, self._identify)
            pieces = json.dumps(document, separators=(",", ":")).split(_MARK)
            drawn = self._drawn[name] = _Drawn(s, disk, tuple(pieces))
        first, *rest = drawn.pieces
        if not rest:
            return first
        told = (costs.get((name, i.generation), _UNKNOWN) for i in views.generations(s))
        return first + "".join(_cost(c) + piece for c, piece in zip(told, rest, strict=True))


def _cost(cost: Cost) -> str:
    up, cpu, rss = cost
    return (
        f'"uptime_s":{"null" if up is None else up},'
        f'"cpu_percent":{"null" if cpu is None else cpu},'
        f'"rss_bytes":{"null" if rss is None else rss}'
    )
