"""How to write for who is reading: colours, glyphs, width; and small things said the same way everywhere.

Decides it once for each command from stdout, the environment and ``--color``. Colours are the eight of every terminal.
"""

import os
import sys

_CODES = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_ASCII = str.maketrans({"→": "->", "…": "...", "≠": "!=", "·": "-", "⇢": "=>"})

MINUTE, HOUR, DAY = 60, 3600, 86400

GOOD = frozenset(("applied", "unchanged", "ready", "passed"))
BAD = frozenset(("rejected", "refused", "rolled_back", "timed_out", "failed", "partial", "killing"))


class Look:
    """What the reader can see."""

    __slots__ = ("color", "terminal", "unicode", "width")

    def __init__(self, *, color: bool, terminal: bool, unicode: bool, width: int) -> None:
        self.color = color
        self.terminal = terminal
        self.unicode = unicode
        self.width = width
        """Columns; 0: as many as it takes."""

    def paint(self, text: str, color: str) -> str:
        """The text in a colour, where colours are wanted."""
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if self.color and color else text

    def plain(self, text: str) -> str:
        """The text with the signs of ours that the reader's encoding lacks spelled in ASCII."""
        return text if self.unicode else text.translate(_ASCII)

    def cut(self, text: str, room: int) -> str:
        """At most ``room`` columns, with a mark where something is missing."""
        if len(text) <= room:
            return text
        mark = "…" if self.unicode else "..."
        return text[: max(0, room - len(mark))] + mark[:room]


def look(options: dict[str, object]) -> Look:
    """What stdout is."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    when = options.get("color") or "auto"
    # https://no-color.org: present and not empty. What is asked for by hand goes first.
    quiet = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    encoding = (sys.stdout.encoding or "") if sys.stdout is not None else ""
    width = 0
    if terminal:
        try:
            width = os.get_terminal_size(sys.stdout.fileno()).columns
        except OSError:
            width = 0
    return Look(
        color=when == "always" or (when == "auto" and terminal and not quiet),
        terminal=terminal,
        unicode=encoding.lower().replace("-", "") == "utf8",
        width=width,
    )


def tone(word: str) -> str:
    """The colour of a phase or a verdict; none for what was not asked to be anything."""
    if word in GOOD:
        return "green"
    if word in ("-", "down", "none"):
        return ""
    return "red" if word in BAD else "yellow"


def short(digest: object) -> str:
    """Twelve digits of a hash."""
    return str(digest).removeprefix("sha256:")[:12]


def duration(seconds: float) -> str:
    """Two units at most: 12s, 3m20s, 2h03m, 5d04h."""
    whole = int(max(0, seconds))
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR:02}h"


def milliseconds(ms: float) -> str:
    """0.4 ms, 182 ms, 12.4 s, 3m20s."""
    if ms < 10:  # noqa: PLR2004 (below, a tenth says something)
        return f"{ms:.1f} ms"
    if ms < 10_000:  # noqa: PLR2004 (four digits are still read at a glance)
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < MINUTE * 1000 else duration(ms / 1000)


def size(count: float) -> str:
    """Bytes as 980K, 12.4M, 1.2G."""
    kib = count / 1024
    if kib < 1000:  # noqa: PLR2004 (three digits fit the column)
        return f"{kib:.0f}K"
    return f"{kib / 1024:.1f}M" if kib < 1000 * 1024 else f"{kib / 1024**2:.1f}G"


_midnights: dict[str, float] = {}


def ago(stamp: str, now: float) -> str:
    """How long a moment of a document is past: "3m ago"."""
    seconds = now - epoch(stamp)
    if seconds < MINUTE:
        return f"{max(0, int(seconds))}s ago"
    if seconds < HOUR:
        return f"{int(seconds / MINUTE)}m ago"
    return f"{int(seconds / HOUR)}h ago" if seconds < DAY else f"{int(seconds / DAY)}d ago"


def epoch(stamp: str) -> float:
    """Unix time of ``2026-11-22T10:00:00.000000Z`` to the second; by hand, since ``datetime`` costs milliseconds.

    0: it is not one.
    """
    try:
        day = stamp[:10]
        midnight = _midnights.get(day)
        if midnight is None:
            midnight = _midnights[day] = _midnight(int(day[:4]), int(day[5:7]), int(day[8:]))
        hours, minutes, seconds = int(stamp[11:13]), int(stamp[14:16]), int(stamp[17:19])
    except ValueError:
        return 0.0
    return midnight + hours * HOUR + minutes * MINUTE + seconds


def _midnight(year: int, month: int, day: int) -> float:
    # Days from the civil calendar, years counted from March (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
    march = (month + 9) % 12
    year -= march > 9  # noqa: PLR2004 (January and February belong to the year before)
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * march + 2) // 5 + day - 1
    return (days - 719468) * DAY


def clock(stamp: object) -> str:
    """A moment of a document, to the second, in UTC as it is kept."""
    return f"{str(stamp)[:10]} {str(stamp)[11:19]}"


def versions(before: object, after: object) -> str:
    """``3f2c9a1b77de → 9be01d4a02c1``; one when they are the same."""
    if before == after or not after:
        return str(before or "unknown")
    return f"{before or 'unknown'} → {after}"
