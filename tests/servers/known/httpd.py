"""Apache httpd: its parent ends when a signal makes it read a file that it cannot take."""

from pathlib import Path
from typing import ClassVar

from kit import HOST, Flaw, Place, Server, is_root

MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authz_core", "dir", "mime")


class Httpd(Server):
    name = "httpd"
    program = "/usr/sbin/apache2"
    first = True
    install = "apt-get install apache2"
    version_of = ("-v",)
    path = "/index.html"
    allowed: ClassVar = {
        Flaw.UNFOUND: "its parent ends of it, and is started with the last good file"
    }
    own_words = "apache2 -k graceful"
    restore = True
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}

    def prepare(self, at: Place) -> None:
        (at.dir / "www").mkdir()
        (at.dir / "types").write_text("text/plain txt html\n")

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        d = at.dir
        folder = d / f"www/{word}"
        folder.mkdir(exist_ok=True)
        (folder / "index.html").write_text(word)
        modules = "\n".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in LOADED)
        more = {
            Flaw.FOUND: "Nonsense on",
            Flaw.UNFOUND: f"Listen {HOST}:{at.busy}",
        }.get(flaw, "")
        user = "User www-data\nGroup www-data" if is_root() else ""
        at.write(
            "httpd.conf",
            f"""ServerRoot {d}
ServerName localhost
PidFile {d}/httpd.pid
DefaultRuntimeDir {d}
Mutex pthread
ErrorLog {d}/error.log
Listen {HOST}:{at.port}
{modules}
TypesConfig {d}/types
{user}
StartServers 1
ThreadsPerChild 32
MaxRequestWorkers 128
KeepAlive On
MaxKeepAliveRequests 0
DocumentRoot {folder}
{more}
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "-f", f"{at.dir}/httpd.conf", "-DFOREGROUND"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/httpd.conf"]

    def own(self, at: Place, pid: int) -> list[str]:
        return [self.where(), "-f", f"{at.dir}/httpd.conf", "-k", "graceful"]
