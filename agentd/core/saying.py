"""What an sd_notify(3) message means to the machines: pure, from fields to an event.

systemd has no word for a reload that failed; here a service may say so by ERRNO (with STATUS as its reason) or by
``X_AGENTD_RELOAD_RESULT=failed``, and name the configuration it runs by ``X_AGENTD_CONFIG_HASH``. HAProxy (3.0) sends READY=1 after a file
that it could not load, and only its STATUS tells: "Reload failed!". Whose message it is, and whether it came in time, is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentd.core.events import Notified, Pinged

_MICROSECONDS = re.compile(r"[0-9]{1,18}")
_PID = re.compile(r"[1-9][0-9]{0,9}")
_ERRNO = re.compile(r"[1-9][0-9]{0,4}")
_COMPLAINT = re.compile(
    r"(?:(?:re)?load(?:ing)?|(?:re)?configuration) failed\b|(?:failed|unable) to (?:re)?load\b|cannot (?:re)?load\b",
    re.IGNORECASE,
)
"""How a STATUS begins that says nothing else than that: a longer story may tell of another time."""
_REASON = 200
"""Characters of a service's STATUS that go into a sentence."""


def heard(service: str, generation: int, fields: Mapping[str, str]) -> Notified | None:
    """None: nothing in it bears on a phase or on a reload."""
    said = Notified(
        service,
        generation,
        ready=fields.get("READY") == "1",
        extend=_seconds(fields.get("EXTEND_TIMEOUT_USEC")) or 0.0,
        reloading=_seconds(fields.get("MONOTONIC_USEC")) if _reloads(fields) else None,
        refused=_refused(fields),
        hash=fields.get("X_AGENTD_CONFIG_HASH", "").strip(),
    )
    return None if said == Notified(service, generation) else said


def lives(service: str, generation: int, fields: Mapping[str, str]) -> Pinged | None:
    """None: nothing in it is about the watchdog."""
    word, interval = fields.get("WATCHDOG"), _seconds(fields.get("WATCHDOG_USEC"))
    if word not in ("1", "trigger") and interval is None:
        return None
    return Pinged(service, generation, trigger=word == "trigger", interval=interval)


def main_pid(fields: Mapping[str, str]) -> int | None:
    """MAINPID: the pid that is to be the main one; None: the message has none, or one that cannot be a pid."""
    found = _PID.fullmatch(fields.get("MAINPID", ""))
    return None if found is None else int(found[0])


def _reloads(fields: Mapping[str, str]) -> bool:
    return fields.get("RELOADING") == "1"


def _seconds(text: str | None) -> float | None:
    found = _MICROSECONDS.fullmatch(text or "")
    return None if found is None else int(found[0]) / 1e6


def _refused(fields: Mapping[str, str]) -> str:
    errno = _ERRNO.fullmatch(fields.get("ERRNO", ""))
    failed = fields.get("X_AGENTD_RELOAD_RESULT", "").strip().lower()
    status = fields.get("STATUS", "").strip()[:_REASON]
    if errno is None and failed not in ("failed", "failure", "error"):
        return status if _COMPLAINT.match(status) else ""
    number = f"errno {errno[0]}" if errno else ""
    return ", ".join(part for part in (status, number) if part) or "it says that it failed"
