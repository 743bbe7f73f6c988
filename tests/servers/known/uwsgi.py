"""uWSGI: replaced on a socket that agentd holds; its own reload starts it anew in the same process."""

from typing import ClassVar

from kit import HOST, Flaw, Place, Server

APP = """def application(environ, start):
    start("200 OK", [("Content-Length", "{length}")])
    return [b"{word}"]
"""


class Uwsgi(Server):
    name = "uwsgi"
    program = "/usr/bin/uwsgi"
    install = "apt-get install uwsgi-core uwsgi-plugin-python3"
    own_words = "kill -HUP"
    leave_out: ClassVar = {Flaw.FOUND: "it has no check"}
    holds = True

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        app = APP.format(length=len(word), word=word)
        at.write("app.py", app + ("raise RuntimeError\n" if flaw is Flaw.UNFOUND else ""))
        socket = "fd://3" if at.held else f"{HOST}:{at.port}"
        at.write(
            "app.ini",
            f"""[uwsgi]
plugin = python3
master = true
need-app = true
die-on-term = true
processes = 2
http-socket = {socket}
wsgi-file = {at.dir}/app.py
disable-logging = true
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "--ini", f"{at.dir}/app.ini"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/app.ini", f"{at.dir}/app.py"]

    def env(self, at: Place) -> dict[str, str]:
        return {"PYTHONDONTWRITEBYTECODE": "1"}

    def service(self, at: Place) -> str:
        return f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/" }}"""
