"""Envoy: takes files of xDS by itself when they are moved into a watched directory."""

import json

from kit import HOST, VENVS, Flaw, Place, Server

TYPES = "type.googleapis.com/envoy"
MANAGER = f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = f"{TYPES}.extensions.filters.http.router.v3.Router"
CHECK = r"""static=$(echo static_resources:; sed -n '/^resources:/,$p' "$2" \
  | sed -e '1s/.*/  listeners:/' -e '2,$s/^/    /' -e 's/^    - "@type": .*/    -/')
exec "$1" --mode validate --use-dynamic-base-id --config-yaml "$static" """
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
        route = {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": word}},
        }
        manager = {
            "@type": MANAGER,
            "stat_prefix": "s",
            "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        }
        if flaw is Flaw.FOUND:
            manager["nonsense"] = 1
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
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
        words = ["-c", f"{at.dir}/envoy.json", "--use-dynamic-base-id", "--concurrency", "1"]
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


def address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": HOST, "port_value": port}}
