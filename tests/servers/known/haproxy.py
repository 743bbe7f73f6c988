"""HAProxy as master and workers: the old worker goes on when the master cannot load a file."""

from typing import ClassVar

from kit import HOST, Flaw, Place, Server


class Haproxy(Server):
    name = "haproxy"
    program = "/usr/sbin/haproxy"
    first = True
    install = "apt-get install haproxy"
    version_of = ("-v",)
    allowed: ClassVar = {
        Flaw.UNFOUND: "its old worker lets go of its listeners while the new one tries; replaced it loses none"
    }
    own_words = "kill -USR2"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        more = {
            Flaw.FOUND: "nonsense on",
            Flaw.UNFOUND: f"bind {HOST}:{at.busy}",
        }.get(flaw, "")
        at.write(
            "haproxy.cfg",
            f"""global
  maxconn 500
  stats socket {at.dir}/stats.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 1s
frontend f
  bind {'"$LISTEN"' if at.held else f"{HOST}:{at.port}"}
  {more}
  http-request return status 200 content-type text/plain string "{word}"
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "-W", "-db", "-S", f"{at.dir}/m.sock", "-f", f"{at.dir}/haproxy.cfg"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/haproxy.cfg"]

    def own(self, at: Place, pid: int) -> list[str]:
        return ["kill", "-USR2", str(pid)]

    def replace(self, at: Place) -> str | None:
        """By its recipe, when agentd holds the socket."""
        sockets = f'sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]'
        plain = self.definition(at, f'{sockets}\nready = {{ http = "http://{HOST}:{at.port}/" }}')
        check = [*("env", "LISTEN=127.0.0.1:1"), self.where(), "-c", "-f"]
        check.append(f"{{staged}}{at.dir}/haproxy.cfg")
        return plain.replace("env = {  }", 'env = { LISTEN = "fd@3" }') + f"check = {check}\n"
