"""Puma: replaced on a socket that agentd holds; its own hot restart ends it when the application cannot be loaded."""

import json

from kit import HOST, Flaw, Place, Server


class Puma(Server):
    name = "puma"
    program = "/usr/bin/puma"
    install = "apt-get install puma ruby-rack"
    own_words = "kill -USR2"
    holds = True

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        more = {Flaw.FOUND: "def def", Flaw.UNFOUND: "raise 'no such thing'"}.get(flaw, "")
        at.write(
            "config.ru",
            f"""{more}
run lambda {{ |env| [200, {{ "Content-Type" => "text/plain", "Content-Length" => "{len(word)}" }}, ["{word}"]] }}
""",
        )

    def command(self, at: Place) -> list[str]:
        return [self.where(), "-b", f"tcp://{HOST}:{at.port}", "-t", "4:16", f"{at.dir}/config.ru"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/config.ru"]

    def service(self, at: Place) -> str:
        return f"""sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]
ready = {{ http = "http://{HOST}:{at.port}/" }}"""

    def reload(self, at: Place) -> str:
        return f"check = {json.dumps(['ruby', '-c', f'{{staged}}{at.dir}/config.ru'])}"

    def own(self, at: Place, pid: int) -> list[str]:
        return ["kill", "-USR2", str(pid)]
