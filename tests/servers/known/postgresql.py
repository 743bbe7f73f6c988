"""PostgreSQL: takes what it can of its files, setting by setting; its rules of access are files of their own."""

import atexit
import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import ClassVar

from kit import HOST, Flaw, Place, Server, is_root

RULES = f"local all all trust\nhost all all {HOST}/32 trust\n"
NOT_TAKEN = """SELECT name FROM pg_settings WHERE pending_restart
UNION SELECT coalesce(name, error) FROM pg_file_settings WHERE error IS NOT NULL"""
USER = "postgres" if is_root() else None


class Postgresql(Server):
    name = "postgresql"
    program = "postgres"
    first = True
    install = "apt-get install postgresql"
    speaks = "postgres"
    path = "app.word"
    per_second = 50.0  # each is a process
    own_words = "pg_ctl reload"
    word = ""
    named: ClassVar = {Flaw.PART: ["max_connections"]}
    parts = True

    def where(self) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        return str(found[-1]) if found else ""

    def prepare(self, at: Place) -> None:
        shutil.copytree(cluster(str(Path(self.where()).parent)), at.dir / "data")
        if USER:
            subprocess.run(["chown", "-R", USER, at.dir / "data"], check=True)

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        """A flaw of the rules leaves the settings as they were."""
        self.word = self.word if flaw is Flaw.UNFOUND else word
        more = "nonsense = 1" if flaw is Flaw.FOUND else ""
        at.write("data/pg_hba.conf", RULES + ("nonsense\n" if flaw is Flaw.UNFOUND else ""))
        at.write(
            "data/postgresql.conf",
            f"""listen_addresses = '{HOST}'
port = {at.port}
unix_socket_directories = ''
max_connections = {50 if flaw is Flaw.PART else 100}
fsync = off
app.word = '{self.word}'
{more}
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "-D", f"{at.dir}/data"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/data/postgresql.conf", f"{at.dir}/data/pg_hba.conf"]

    def service(self, at: Place) -> str:
        return f'user = "{USER}"' if USER else ""

    def reload(self, at: Place) -> str:
        psql = [f"{Path(self.where()).parent}/psql", "-XAtq", "-h", HOST, "-p", str(at.port)]
        told = json.dumps([*psql, *("-U", "postgres", "-d", "postgres", "-c", NOT_TAKEN)])
        return f"report = {{ exec = {told} }}"

    def runs_as(self) -> tuple[str | None, str | None]:
        return USER, USER

    def own(self, at: Place, pid: int) -> list[str]:
        become = ["runuser", "-u", USER, "--"] if USER else []
        return [*become, f"{Path(self.where()).parent}/pg_ctl", "reload", "-D", f"{at.dir}/data"]


@cache
def cluster(bin_: str) -> Path:
    """A new one, made once."""
    home = Path(tempfile.mkdtemp(prefix="agentd-public-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if USER:
        shutil.chown(home, USER)
    argv = [f"{bin_}/initdb", "-D", f"{home}/data", "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(argv, check=True, capture_output=True, user=USER, cwd=home)
    return home / "data"
