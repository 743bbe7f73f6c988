"""Redis: never reads its file again; CONFIG SET takes all of the settings or none."""

import json

from kit import HOST, Flaw, Place, Server

CHECK = """timeout 1 redis-server "$1" --port 0 --unixsocket "$2/check.sock" --save '' --dir /tmp; test $? = 124"""
SET = """redis-cli -e -p "$1" CONFIG SET $(cat "$2")"""


class Redis(Server):
    name = "redis"
    program = "redis-server"
    install = "apt-get install redis-server"
    speaks = "redis"
    path = "slowlog-max-len"
    own_words = "CONFIG SET"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        """A setting that cannot be set while it runs is good for the next start, so no check finds it."""
        more = {Flaw.FOUND: "nonsense 1", Flaw.UNFOUND: "databases 3"}.get(flaw, "")
        number = int(word.removeprefix("word"))
        at.write("live.conf", f"slowlog-max-len {number}\n{more}\n")
        base = f"bind {HOST}\nport {at.port}\nsave ''\ndir {at.dir}\ninclude {at.dir}/live.conf\n"
        at.write("redis.conf", base)

    def command(self, at: Place) -> list[str]:
        return [self.where(), f"{at.dir}/redis.conf"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/live.conf"]

    def service(self, at: Place) -> str:
        return f'ready = {{ tcp = "{HOST}:{at.port}" }}'

    def reload(self, at: Place) -> str:
        check = ["sh", "-c", CHECK, "check", f"{{staged}}{at.dir}/live.conf", str(at.dir)]
        return f"check = {json.dumps(check)}\ncommand = {json.dumps(self.own(at, 0))}"

    def own(self, at: Place, pid: int) -> list[str]:
        return ["sh", "-c", SET, "set", str(at.port), f"{at.dir}/live.conf"]

    def get(self, at: Place) -> str:
        found = super().get(at)
        return found and f"word{found}"
