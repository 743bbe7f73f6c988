"""Prints agentd-states(7) from the two tables of the core: what each event does in each phase and stage.

The words are the rows' own names and docstrings. Run without arguments it rewrites the page; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from agentd.core import instance, reload
from agentd.core.instance import ALIVE, Phase
from agentd.core.reload_value import ACTED, PHASE, Stage

PAGE = Path(__file__).parent.parent / "man" / "agentd-states.7"
HEAD = """\
.\\" Printed by tools/states_man.py from agentd/core: do not edit.
.TH AGENTD\\-STATES 7 2026-11-25 agentd "agentd manual"
.SH NAME
agentd\\-states \\- phases of an instance and of a reload, and what moves them
.SH DESCRIPTION
.BR agentd (8)
decides by two tables.
A row is the answer to one event in one phase; a pair that is not listed is refused by name and written to the log,
and supervision goes on.
An answer or a timer that belongs to something already left is dropped before the table is asked.
"""
INSTANCE = """\
.SH INSTANCE
One process group of a service, from its start to the last process reaped.
"""
RELOAD = """\
.SH RELOAD
One request to take new configuration, to exactly one verdict.
At most one reload of a service runs and at most one waits; a newer request joins the one that waits.
"""
TAIL = """\
.SH EXAMPLES
.TP
.B curl \\-N \\-\\-unix\\-socket /run/agentd/agentd.sock http://agentd/v1/events | grep phase_entered
Watch the services of this host move from phase to phase.
.SH SEE ALSO
.BR agentd (8),
.BR agentd\\-api (7),
.BR agentd.toml (5),
.BR reloadctl (1)
"""


def page() -> str:
    """The whole page in roff."""
    parts = [HEAD, INSTANCE, *rows(Phase, instance.TABLE, about_phase)]
    return "".join([*parts, RELOAD, *rows(Stage, reload.TABLE, about_stage), TAIL])


def about_phase(phase: Any) -> str:
    """Whether there is a process."""
    return "A process runs or is being born." if phase in ALIVE else "There is no process."


def about_stage(stage: Any) -> str:
    """Which phase of a reload a person sees, and whether the service may have been touched."""
    touched = " The service may have been touched." if stage in ACTED else ""
    return f"Shown as {roff(PHASE[stage])}.{touched}"


def rows(places: type[StrEnum], table: Mapping[tuple[Any, Any], Any], about: Any) -> Iterator[str]:
    """A section for each phase, an entry for each of its events."""
    for place in places:
        yield f".SS {roff(place.value)}\n{about(place)}\n"
        for (where, event), row in sorted(table.items(), key=lambda item: item[0][1].__name__):
            if where is place:
                yield f".TP\n.B {event.__name__}\n{sentence(event)}\n.br\n\\(-> {said(row)}\n"


def sentence(event: Any) -> str:
    """What happened."""
    return roff(event.__doc__.strip().partition("\n")[0])


def said(row: Any) -> str:
    """The row's name as words, and what it says of itself."""
    name = row.__name__.strip("_").replace("_", " ")
    why = (row.__doc__ or "").strip().partition("\n")[0]
    return f"\\fI{roff(name)}\\fR" + (f": {roff(why)}" if why else "")


def roff(text: str) -> str:
    """Escaped, so that nothing of it is a request."""
    return text.replace("``", "").replace("\\", "\\e").replace("-", "\\-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
