"""Envoy: takes files of xDS by itself when they are moved into a watched directory."""

import json
import tomllib

from kit import HOST, VENVS, Flaw, Place, Server

from agentd import recipes

TYPES = "type.googleapis.com/envoy"
MANAGER = f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{TYPES}.extensions.filters.http.router.v3.Router"
CHECK = r"""static=$(echo static_resources:; sed -n '/^resources:/,$p' "$2" \
  | sed -e '1s/.*/  listeners:/' -e '2,$s/^/    /' -e 's/^    - "@type": .*/    -/')
exec "$1" --mode validate --disable-hot-restart --config-yaml "$static" """
PUBLISH = """cp "$1" "$2/.new" && mv "$2/.new" "$2/lds.yaml" """


class Envoy(Server):
    name = "envoy"
    program = "servers/envoy"
    first = True
    install = "make tests/servers"
    own_words = "mv lds.yaml"

    def where(self) -> str:
        """The wheel's own envoy is a script around it."""
        found = list(VENVS.glob("servers/lib/*/site-packages/envoy/_bin/envoy"))
        return str(found[0]) if found else ""

    def prepare(self, at: Place) -> None:
        (at.dir / "xds").mkdir()
        source = {
            "path": f"{at.dir}/xds/lds.yaml",
            "watched_directory": {"path": f"{at.dir}/xds"},
        }
        bootstrap = {
            "node": {"id": "a", "cluster": "a"},
            "admin": {"address": address(at.other)},
            "dynamic_resources": {"lds_config": {"path_config_source": source}},
        }
        at.write("envoy.json", json.dumps(bootstrap))

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        chain = {"filters": [{"name": "http", "typed_config": manager(word, flaw)}]}
        port = at.busy if flaw is Flaw.UNFOUND else at.port
        text = at.write(
            "lds.yaml",
            f"""version_info: "{word}"
resources:
- "@type": {TYPES}.config.listener.v3.Listener
  name: main
  enable_reuse_port: {json.dumps(flaw is not Flaw.UNFOUND)}
  address: {json.dumps(address(port))}
  filter_chains: {json.dumps([chain])}
""",
        )
        first = at.dir / "xds/lds.yaml"
        if not first.exists():
            first.write_text(text.read_text())

    def command(self, at: Place) -> list[str]:
        words = ["-c", f"{at.dir}/envoy.json", "--disable-hot-restart", "--concurrency", "1"]
        return [self.where(), *words]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/lds.yaml"]

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.other}/ready" }}'

    def reload(self, at: Place) -> str:
        check = ["sh", "-c", CHECK, "check", self.where(), f"{{staged}}{at.dir}/lds.yaml"]
        publish = ["sh", "-c", PUBLISH, "publish", f"{at.dir}/lds.yaml", f"{at.dir}/xds"]
        return f"check = {json.dumps(check)}\ncommand = {json.dumps(publish)}"

    def own(self, at: Place, pid: int) -> list[str]:
        return ["sh", "-c", PUBLISH, "publish", f"{at.dir}/lds.yaml", f"{at.dir}/xds"]


def manager(word: str, flaw: Flaw) -> dict[str, object]:
    """Of HTTP: it answers ``word`` to everything."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": word}},
    }
    made: dict[str, object] = {
        "@type": MANAGER,
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return made | ({"nonsense": 1} if flaw is Flaw.FOUND else {})


def address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": HOST, "port_value": port}}


class EnvoyHot(Envoy):
    """By its hot restart: the next epoch takes the listeners and ends the one before. Its own wrapper has no command to compare with."""

    name = "envoy-hot"
    own_words = ""

    def prepare(self, at: Place) -> None:
        """Everything is in the bootstrap."""

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        listener = {
            "name": "main",
            "enable_reuse_port": flaw is not Flaw.UNFOUND,
            "address": address(at.busy if flaw is Flaw.UNFOUND else at.port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager(word, flaw)}]}],
        }
        bootstrap = {
            "node": {"id": "a", "cluster": "a"},
            "admin": {"address": address(at.other)},
            "static_resources": {"listeners": [listener]},
        }
        at.write("envoy.json", json.dumps(bootstrap))

    def command(self, at: Place) -> list[str]:
        """As in the recipe's example; the port is free on this host, so it is nobody else's base id either."""
        words = tomllib.loads(recipes.load("envoy-hot").example)["service"]["edge"]["command"]
        script = words[-1]
        for told, here in (
            ("envoy -", f"{self.where()} -"),
            ("/etc/envoy/envoy.yaml", f"{at.dir}/envoy.json --concurrency 1"),
            ("memory_70", f"memory_{at.port}0"),
            ("--base-id 7", f"--base-id {at.port}"),
            ("--drain-time-s 20", "--drain-time-s 2"),
            ("--parent-shutdown-time-s 30", "--parent-shutdown-time-s 3"),
        ):
            assert told in script, told
            script = script.replace(told, here)
        return [*words[:-1], script]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/envoy.json"]

    def reload(self, at: Place) -> str:
        check = [
            "--mode",
            "validate",
            "--disable-hot-restart",
            "-c",
            f"{{staged}}{at.dir}/envoy.json",
        ]
        return f"check = {json.dumps([self.where(), *check])}"
