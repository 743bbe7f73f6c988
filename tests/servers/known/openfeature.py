"""A program that evaluates a flag by OpenFeature, from a file that its provider looks at by itself."""

import json
import sys

from kit import HOST, VENVS, Flaw, Place, Server

PROGRAM = """import http.server, logging, sys
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

logging.basicConfig()
provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=sys.argv[2])
api.set_provider(provider)
client = api.get_client()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = client.get_string_value("word", "default of the code").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Threads(http.server.ThreadingHTTPServer):
    request_queue_size = 100
    daemon_threads = True


Threads(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PUBLISH = """cp "$1" "$2/.new" && mv "$2/.new" "$2/flags.json" """
CHECK = "import json, sys; assert json.load(open(sys.argv[1]))['flags']"


class OpenFeature(Server):
    name = "openfeature"
    program = "servers/python"
    install = "make servers-all"
    own_words = "mv flags.json"

    def missing(self) -> str:
        found = [*VENVS.glob("servers/lib/*/site-packages/openfeature/contrib/provider/flagd")]
        return "" if found else f"openfeature-provider-flagd is not installed: {self.install}"

    def version(self) -> str:
        """The provider's."""
        (found,) = VENVS.glob("servers/lib/*/site-packages/openfeature_provider_flagd-*.dist-info")
        return found.name.removesuffix(".dist-info").rpartition("-")[2]

    def prepare(self, at: Place) -> None:
        (at.dir / "seen").mkdir()
        at.write("program.py", PROGRAM)

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        state = "PERHAPS" if flaw is Flaw.UNFOUND else "ENABLED"
        flag = {"state": state, "variants": {"it": word}, "defaultVariant": "it"}
        flags = {} if flaw is Flaw.FOUND else {"word": flag}
        text = json.dumps({"metadata": {"version": word}, "flags": flags})
        path = at.write("flags.json", text)
        first = at.dir / "seen/flags.json"
        if not first.exists():
            first.write_text(path.read_text())

    def command(self, at: Place) -> list[str]:
        return [self.where(), f"{at.dir}/program.py", str(at.port), f"{at.dir}/seen/flags.json"]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/flags.json"]

    def service(self, at: Place) -> str:
        return f"""version = {{ file = "{at.dir}/flags.json", path = "metadata.version" }}
ready = {{ http = "http://{HOST}:{at.port}/" }}"""

    def reload(self, at: Place) -> str:
        asked = f'{{ http = "http://{HOST}:{at.port}/", expect = "{{version}}" }}'
        return f"""check = {json.dumps([sys.executable, "-c", CHECK, f"{{staged}}{at.dir}/flags.json"])}
command = {json.dumps(self.own(at, 0))}
confirm = [{asked}, "delivered"]"""

    def own(self, at: Place, pid: int) -> list[str]:
        return ["sh", "-c", PUBLISH, "publish", f"{at.dir}/flags.json", f"{at.dir}/seen"]
