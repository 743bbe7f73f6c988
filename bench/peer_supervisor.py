"""supervisord in three ways: a socket of its own (``fcgi-program``) with one process or two in turn, and a plain restart."""

from __future__ import annotations

from app import IN_A_ROW, Site, environment
from servers import Service, Supervisor


class Supervised(Supervisor):
    """supervisord with one section; ``words`` are what is restarted, one after the other."""

    def __init__(self, site: Site, section: str, *words: str) -> None:
        environment(site.place, "supervisor")
        self.site = site
        self.words = words
        super().__init__(site.place.environment() / "bin", site.dir, [_Section("app", (), section)])

    def up(self) -> bool:
        """When the app answers, by all of its processes as far as can be seen."""
        return all(self.site.version() == "0" for _ in range(IN_A_ROW))

    def restart(self) -> None:
        """Each returns when the new process has stayed up for a second (``startsecs``)."""
        for word in self.words:
            self.site.run(*self.ctl("restart", word))


class _Section(Service):
    """A section as it is written."""

    def ini(self) -> str:
        """The section in supervisord's file."""
        return self.agentd


def _section(site: Site, kind: str, command: list[str], more: str) -> str:
    words = " ".join(word.replace("%", "%%") for word in command)
    return f"""[{kind}:app]
command={words}
environment=APP_FILE="{site.file}"
redirect_stderr=true
{more}
"""


def fcgi(site: Site) -> Supervised:
    """One process; the socket goes when the last process of the group does."""
    more = f"socket=tcp://127.0.0.1:{site.port}"
    return Supervised(site, _section(site, "fcgi-program", site.uvicorn("--fd", "0"), more), "app:")


def fcgi_in_turn(site: Site) -> Supervised:
    """Two processes on one socket, restarted one after the other."""
    more = f"socket=tcp://127.0.0.1:{site.port}\nnumprocs=2\nprocess_name=app_%(process_num)d"
    section = _section(site, "fcgi-program", site.uvicorn("--fd", "0"), more)
    return Supervised(site, section, "app:app_0", "app:app_1")


def plain(site: Site) -> Supervised:
    """A server that opens its port itself."""
    command = site.uvicorn("--port", str(site.port))
    return Supervised(site, _section(site, "program", command, ""), "app")
