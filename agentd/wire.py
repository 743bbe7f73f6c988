"""The vocabulary that agentd and reloadctl share on the socket: verdicts, exit codes, triggers, default paths.

The shapes of the JSON documents are built in ``agentd.api.views``.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Verdict(StrEnum):
    """How a reload ended: always exactly one of eleven."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    TIMED_OUT = "timed_out"
    UNVERIFIED = "unverified"
    HELD = "held"
    CANCELLED = "cancelled"
    PARTIAL = "partial"
    FAILED = "failed"

    @property
    def status(self) -> str | None:
        """``reload.status``: success, failure, partial; None for what was not run."""
        return _STATUS[self]

    @property
    def exit_code(self) -> int:
        """What ``reloadctl`` exits with."""
        return _EXIT[self]


_STATUS: dict[Verdict, str | None] = {
    **dict.fromkeys(Verdict, "failure"),
    Verdict.APPLIED: "success",
    Verdict.UNCHANGED: "success",
    Verdict.PARTIAL: "partial",
    Verdict.HELD: None,
    Verdict.CANCELLED: None,
}
_EXIT: dict[Verdict, int] = {
    Verdict.APPLIED: 0,
    Verdict.UNCHANGED: 0,
    Verdict.REJECTED: 150,
    Verdict.REFUSED: 151,
    Verdict.ROLLED_BACK: 152,
    Verdict.TIMED_OUT: 153,
    Verdict.UNVERIFIED: 154,
    Verdict.HELD: 155,
    Verdict.PARTIAL: 157,
    Verdict.FAILED: 158,
    Verdict.CANCELLED: 159,
}

WORST_FIRST = tuple(
    Verdict(v)
    for v in (
        "failed",
        "partial",
        "rolled_back",
        "refused",
        "timed_out",
        "unverified",
        "rejected",
        "held",
        "cancelled",
        "unchanged",
        "applied",
    )
)
"""With several services the worst counts, in this order."""


class ExitCode(IntEnum):
    """The other exit codes of ``reloadctl``; 3 to 7 and 77 follow LSB and sysexits where these have a word."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_UP = 3
    STATUS_UNKNOWN_SERVICE = 4
    NO_SUCH_SERVICE = 5
    INVALID_DEFINITION = 6
    NOT_RUNNING = 7
    DENIED = 77
    INTERRUPTED = 130
    UNREACHABLE = 156
    STILL_RUNNING = 160


class Trigger(StrEnum):
    """What asked for a reload."""

    CLI = "cli"
    API = "api"
    WATCH = "watch"
    SOURCE = "source"
    HANGUP = "hangup"
    TIMER = "timer"
    ROLLBACK = "rollback"
    START = "start"

    @property
    def event_type(self) -> str:
        """``reload.event.type``."""
        return _EVENT_TYPE[self]

    @property
    def person(self) -> bool:
        """A person's reload always acts; the others do nothing when nothing changed."""
        return self in (Trigger.CLI, Trigger.API)


_EVENT_TYPE: dict[Trigger, str] = {
    Trigger.CLI: "manual_api_call",
    Trigger.API: "manual_api_call",
    Trigger.WATCH: "auto_file_watch",
    Trigger.SOURCE: "control_plane_push",
    Trigger.HANGUP: "signal",
    Trigger.TIMER: "timer",
    Trigger.ROLLBACK: "rollback",
    Trigger.START: "process_start",
}

EXIT_HEADER = "Reloadctl-Exit"
"""Response header with the exit code for ``reloadctl``, so that ``--json`` passes the body through unparsed."""
