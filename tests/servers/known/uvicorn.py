"""uvicorn: replaced on a socket that agentd holds; it ends of HUP."""

from typing import ClassVar

from kit import HOST, Flaw, Place, Server

APP = """async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.{startup}"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    head = [(b"content-length", b"{length}")]
    await send({{"type": "http.response.start", "status": 200, "headers": head}})
    await send({{"type": "http.response.body", "body": b"{word}"}})
"""


class Asgi(Server):
    """What an ASGI application has in common."""

    install = "make tests/servers"
    own_words = "kill -HUP"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        startup = "failed" if flaw is Flaw.UNFOUND else "complete"
        app = APP.format(startup=startup, length=len(word), word=word)
        at.write("asgi.py", app + ("def def\n" if flaw is Flaw.FOUND else ""))

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/asgi.py"]

    def env(self, at: Place) -> dict[str, str]:
        return {
            "PYTHONDONTWRITEBYTECODE": "1"
        }  # an edit within a second of the last would not be seen

    def reload(self, at: Place) -> str:
        load = f"import sys; sys.path.insert(0, '{at.dir}'); import asgi"
        return f'check = ["python3", "-c", "{load}"]'


class Uvicorn(Asgi):
    name = "uvicorn"
    program = "servers/uvicorn"

    def command(self, at: Place) -> list[str]:
        where = ["--fd", "3"] if at.held else ["--host", HOST, "--port", str(at.port)]
        return [
            self.where(),
            *where,
            "--app-dir",
            str(at.dir),
            "--log-level",
            "warning",
            "asgi:app",
        ]

    holds = True

    def service(self, at: Place) -> str:
        return f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/" }}"""


class Granian(Asgi):
    name = "granian"
    program = "servers/granian"
    lingers = 8.0
    restore = True
    expect: ClassVar = {Flaw.UNFOUND: {"rolled_back"}}
    allowed: ClassVar = {
        Flaw.UNFOUND: "it ends of it, some seconds later, and is started with the last good file",
        **dict.fromkeys(
            (Flaw.NONE, "edit by watch"),
            "its old workers may close what they have accepted and not yet read, by kill -HUP too",
        ),
    }

    def command(self, at: Place) -> list[str]:
        where = ["--host", HOST, "--port", str(at.port), "--working-dir", str(at.dir)]
        return [self.where(), "--interface", "asgi", *where, "--log-level", "warning", "asgi:app"]

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.port}/" }}'
