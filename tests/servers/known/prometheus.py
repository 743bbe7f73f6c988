"""Prometheus: each of its parts takes the file by itself, whether or not another one could."""

from typing import ClassVar

from kit import HOST, Flaw, Place, Server


class Prometheus(Server):
    name = "prometheus"
    program = "prometheus"
    install = "apt-get install prometheus"
    path = "/api/v1/status/config"
    expect: ClassVar = {Flaw.UNFOUND: {"partial"}}
    own_words = "kill -HUP"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        more = {
            Flaw.FOUND: "nonsense: 1",
            Flaw.UNFOUND: f"  query_log_file: {at.dir}/no/such/directory/log",
        }.get(flaw, "")
        at.write("prometheus.yml", f"global:\n  external_labels: {{word: {word}}}\n{more}\n")

    def command(self, at: Place) -> list[str]:
        listen = f"--web.listen-address={HOST}:{at.port}"
        file = f"--config.file={at.dir}/prometheus.yml"
        return [
            self.where(),
            file,
            listen,
            "--web.enable-lifecycle",
            f"--storage.tsdb.path={at.dir}/db",
        ]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/prometheus.yml"]

    def service(self, at: Place) -> str:
        return f'ready = {{ http = "http://{HOST}:{at.port}/-/ready" }}'

    def reload(self, at: Place) -> str:
        return f'request = {{ url = "http://{HOST}:{at.port}/-/reload" }}'
