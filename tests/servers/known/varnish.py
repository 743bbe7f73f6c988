"""Varnish: loads a VCL beside the old one, then uses it."""

import json

from kit import HOST, Flaw, Place, Server

RELOAD = """n=r$(date +%s%N)
varnishadm -n "$1" vcl.load $n "$2" && varnishadm -n "$1" vcl.use $n"""


class Varnish(Server):
    name = "varnish"
    program = "/usr/sbin/varnishd"
    install = "apt-get install varnish"
    version_of = ("-V",)
    own_words = "vcl.load, vcl.use"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        more = {
            Flaw.FOUND: "nonsense;",
            Flaw.UNFOUND: "sub vcl_init { return (fail); }",
        }.get(flaw, "")
        at.write(
            "site.vcl",
            f"""vcl 4.1;
backend none none;
sub vcl_recv {{ return (synth(200, "{word}")); }}
sub vcl_synth {{ set resp.body = resp.reason; return (deliver); }}
{more}
""",
        )

    def command(self, at: Place) -> list[str]:
        words = ["-F", "-n", f"{at.dir}/v", "-a", f"{HOST}:{at.port}", "-f", f"{at.dir}/site.vcl"]
        return [self.where(), *words, "-s", "malloc,32m"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/site.vcl"]

    def reload(self, at: Place) -> str:
        return f"command = {json.dumps(self.own(at, 0))}"

    def own(self, at: Place, pid: int) -> list[str]:
        return ["sh", "-c", RELOAD, "reload", f"{at.dir}/v", f"{at.dir}/site.vcl"]
