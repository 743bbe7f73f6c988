"""nginx: keeps the old workers when it cannot take a file, and says so in its error log only."""

from kit import HOST, Flaw, Place, Server

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Server):
    name = "nginx"
    program = "/usr/sbin/nginx"
    first = True
    install = "apt-get install nginx"
    version_of = ("-v",)
    own_words = "nginx -s reload"

    def write(self, at: Place, word: str, flaw: Flaw = Flaw.NONE) -> None:
        d = at.dir
        paths = " ".join(f"{kind}_temp_path {d}/{kind};" for kind in TEMPORARY)
        more = {
            Flaw.FOUND: "nonsense on;",
            Flaw.UNFOUND: f"listen {HOST}:{at.busy};",  # nginx -t passes over an address in use
        }.get(flaw, "")
        at.write(
            "nginx.conf",
            f"""pid {d}/nginx.pid; error_log stderr notice; worker_processes 2;
events {{ worker_connections 512; }}
http {{ access_log off; {paths}
  server {{ listen {HOST}:{at.port}; {more} location / {{ return 200 "{word}"; }} }} }}
""",
        )

    def command(self, at: Place) -> list[str]:
        words = ["-g", "daemon off;", "-p", f"{at.dir}/", "-c", f"{at.dir}/nginx.conf"]
        return [self.where(), *words]

    def inputs(self, at: Place) -> list[str]:
        return [f"{at.dir}/nginx.conf"]

    def own(self, at: Place, pid: int) -> list[str]:
        return [self.where(), "-p", f"{at.dir}/", "-c", f"{at.dir}/nginx.conf", "-s", "reload"]

    def reload(self, at: Place) -> str:
        return 'timeout = "8s"'

    def replace(self, at: Place) -> str | None:
        """It takes listeners that are already open by what it uses for its own binary upgrade."""
        plain = self.definition(at, f'sockets = [{{ name = "http", listen = "{HOST}:{at.port}" }}]')
        probe = f'ready = {{ http = "http://{HOST}:{at.port}/" }}'
        plain = plain.replace("env = {  }", f'env = {{ NGINX = "3;" }}\n{probe}')
        return plain + 'handle = "replace"\n'
