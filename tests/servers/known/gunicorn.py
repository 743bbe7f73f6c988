"""gunicorn: replaced on a socket that agentd holds; by HUP it ends as a whole when its new workers cannot start."""

from typing import ClassVar

from kit import HOST, Flaw, Place, Server

APP = """def application(environ, start):
    start("200 OK", [("Content-Length", "{length}")])
    return [b"{word}"]
"""
HOOK = "def post_fork(server, worker):\n    raise RuntimeError('no such thing')\n"


class Gunicorn(Server):
    name = "gunicorn"
    program = "servers/gunicorn"
    first = True
    install = "make tests/servers"
    own_words = "kill -HUP"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        at.write("gunicorn.conf.py", HOOK if flaw is Flaw.UNFOUND else "")
        app = APP.format(length=len(word), word=word)
        at.write("app.py", app if flaw is not Flaw.FOUND else app + "def def\n")

    def command(self, at: Place) -> list[str]:
        words = ["--threads", "16", "--keep-alive", "5", "--chdir", str(at.dir)]
        words += ["--bind", f"{HOST}:{at.port}", "--log-level", "warning"]
        return [self.where(), *words, "--config", f"{at.dir}/gunicorn.conf.py", "app"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/app.py", f"{at.dir}/gunicorn.conf.py"]

    def env(self, at: Place) -> dict[str, str]:
        return {
            "PYTHONDONTWRITEBYTECODE": "1"
        }  # an edit within a second of the last would not be seen

    def service(self, at: Place) -> str:
        return f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/" }}"""


class GunicornHup(Gunicorn):
    """Without a socket of agentd's."""

    name = "gunicorn-hup"
    recipe = "gunicorn"
    first = False
    restore = True
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}
    allowed: ClassVar = {Flaw.UNFOUND: "it ends of it, and is started with the last good file"}

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.port}/" }}'
