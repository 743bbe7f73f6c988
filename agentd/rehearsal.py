"""``agentd --dry-run``: everything up to the moment at which an agent takes over, and then an end.

It answers one question, which ``reloadctl upgrade`` asks of the new code before the old one gives way: could it supervise what is
here? Every module is loaded, so that a file which is half installed is found now, and the state is read and not written.
"""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
from contextlib import closing
from pathlib import Path

import agentd
from agentd.config.definitions import Definitions
from agentd.options import Options
from agentd.ports import AdapterError
from agentd.store.codec import VERSION
from agentd.store.journal import Journal
from agentd.store.schema import read_only
from agentd.wire import ExitCode

_PROGRAMS = frozenset({"agentd.__main__", "agentd.system.spawner"})
"""They run when they are loaded."""


def rehearse(options: Options, definitions: Definitions) -> int:
    """Say on the last line whether it can; the exit code. What is wrong with a module is raised as it is."""
    for module in pkgutil.walk_packages(agentd.__path__, "agentd."):
        if module.name not in _PROGRAMS:
            importlib.import_module(module.name)
    if why := _unreadable(options.state_dir / "journal.db"):
        print(why)  # noqa: T201
        return ExitCode.BUG
    count = len(definitions.services)
    services = f"{count} service{'' if count == 1 else 's'}"
    print(f"agentd {agentd.__version__} can take over, {services}")  # noqa: T201
    return ExitCode.OK


def _unreadable(path: Path) -> str:
    """Why what earlier agents wrote would not be understood; empty: it would be, or there is nothing."""
    if not path.exists():
        return ""
    try:
        with closing(read_only(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            return f"the journal {path} has version {version}, and this agentd knows {VERSION}: it would be set aside"
        if version < VERSION:
            return ""  # it is taken over by a migration, which is written
        journal = Journal(path)
        try:
            journal.memories()
            journal.open_reloads()
            return journal.notice
        finally:
            journal.close()
    except (AdapterError, sqlite3.Error) as error:
        return f"cannot read the journal {path}: {error}"
