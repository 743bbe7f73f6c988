"""Files that nobody listed and the server reads all the same: nginx and httpd name them, and they are inputs like any other."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from host import Host, Nginx, free_port, host, load, public_directory, until

from agentd import recipes

WATCH = 'watch = { debounce = "50ms" }\n'


class Including(Nginx):
    """nginx."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.parts = directory / "conf.d" / "parts"
        self.parts.mkdir()
        (directory / "conf.d" / "all.conf").write_text(f"include {self.parts}/*.part;\n")
        self.conf.write_text(self.conf.read_text().replace('return 200 "one"', "return 200 $said"))
        self.say("one")

    @property
    def definition(self) -> str:
        return super().definition.replace(', "@DIR@/conf.d/*.conf"', "")

    def say(self, what: str) -> None:
        renamed(self.parts / "a.part", f'map $uri $said {{ default "{what}"; }}\n')


class Httpd(Nginx):
    """httpd."""

    MODULES = "mpm_event", "authz_core", "dir", "mime"

    def __init__(self, directory: Path) -> None:
        d = self.dir = directory
        self.port, self.conf, self.parts = free_port(), d / "httpd.conf", d / "parts"
        self.parts.mkdir()
        (d / "types").write_text("text/plain html\n")
        (d / "all.conf").write_text(f"IncludeOptional {self.parts}/*.part\n")
        libraries = "/usr/lib/apache2/modules"
        modules = "\n".join(f"LoadModule {m}_module {libraries}/mod_{m}.so" for m in self.MODULES)
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        self.conf.write_text(f"""ServerRoot {d}
ServerName localhost
PidFile {d}/httpd.pid
DefaultRuntimeDir {d}
Mutex pthread
ErrorLog {d}/error.log
Listen 127.0.0.1:{self.port}
{modules}
TypesConfig {d}/types
{user}StartServers 1
<Directory {d}>
  Require all granted
</Directory>
Include {d}/all.conf
""")
        self.say("one")

    @property
    def definition(self) -> str:
        return """[service.web]
command = ["/usr/sbin/apache2", "-DFOREGROUND", "-f", "@DIR@/httpd.conf"]
recipe = "httpd"
inputs = ["@DIR@/httpd.conf"]
"""

    def say(self, what: str) -> None:
        self.serve_from("a.part", what)

    def serve_from(self, part: str, what: str) -> None:
        folder = self.dir / "www" / what
        folder.mkdir(parents=True)
        (folder / "index.html").write_text(what)
        renamed(self.parts / part, f"DocumentRoot {folder}\nDirectoryIndex index.html\n")


def renamed(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def last(running: Host, verdict: str, before: str = "") -> Any:
    """When the last reload ended so, and ``before`` is live no more."""

    def look() -> Any:
        found = running.service("web")
        told, live = found["last_reload"], found["config"]["live"]
        over = told and told["verdict"] == verdict and found["running"] is None
        return over and live and live != before and found

    return until(look, f"{verdict}; {running.log()[-2000:]}")


def test_a_file_that_is_only_included_is_an_input(tmp_path: Path) -> None:
    nginx = Including(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        before = running.ready("web")
        nginx.say("two")
        assert running.service("web")["config"]["on_disk"] != before["config"]["live"]
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied"), reload
        part = str(nginx.parts / "a.part")
        assert reload["changed"] == [{"path": part, "change": "modified"}]
        assert nginx.get() == "two"
        assert running.service("web")["config"]["in_sync"]
        diff = running.text("diff", "web", before["config"]["live"])
        assert '+map $uri $said { default "two"; }' in diff.stdout, diff


def by_watch(running: Host) -> list[str]:
    """The verdicts of its reloads, the newest first."""
    return [r["verdict"] for r in running.history("web") if r["trigger"] == "watch"]


def test_nginx_names_what_it_includes_and_a_watch_sees_each_of_it(tmp_path: Path) -> None:
    nginx = Including(tmp_path)
    with host(tmp_path, nginx.definition + WATCH) as running:
        first = running.ready("web")
        nginx.say("two")
        edited = last(running, "applied", first["config"]["live"])
        assert nginx.get() == "two"
        renamed(nginx.parts / "b.part", "map $uri $more { default 1; }\n")
        added = last(running, "applied", edited["config"]["live"])
        assert added["config"]["unlisted"] is None

        # One more, which nobody can name because it cannot be parsed.
        renamed(nginx.parts / "c.part", "nonsense on;\n")
        bad = last(running, "rejected")
        assert bad["config"]["live"] == added["config"]["live"]
        assert "cannot list the included files: " in bad["config"]["unlisted"]
        assert "what is on disk may be more than is known" in running.text("status").stdout
        _, shown = running.ctl("show", "web")
        assert shown["error"] == "check_failed"
        assert any("nonsense" in line for line in shown["output"])
        assert nginx.get() == "two"

        renamed(nginx.parts / "c.part", "map $uri $third { default 1; }\n")
        mended = last(running, "applied", added["config"]["live"])
        assert mended["config"]["in_sync"]
        assert mended["config"]["unlisted"] is None
        assert by_watch(running) == ["applied", "rejected", "applied", "applied"]


@pytest.mark.skipif(not Path("/usr/sbin/apache2").exists(), reason="apt-get install apache2")
def test_httpd_names_what_it_includes_and_a_watch_sees_each_of_it() -> None:
    with public_directory() as directory:  # its children are another user
        httpd = Httpd(directory)
        with host(directory, httpd.definition + WATCH) as running:
            first = running.ready("web")
            renamed(httpd.parts / "b.part", "Nonsense on\n")
            bad = last(running, "rejected")
            assert bad["config"]["live"] == first["config"]["live"]
            assert "cannot list the included files: " in bad["config"]["unlisted"]
            httpd.serve_from("b.part", "mended")
            mended = last(running, "applied", first["config"]["live"])
            assert mended["config"]["in_sync"]
            until(lambda: httpd.get() == "mended", "the new file is served")
            renamed(httpd.parts / "b.part", "# says nothing\n")
            until(lambda: httpd.get() == "one", "the edit is served")
            assert by_watch(running)[-2:] == ["applied", "rejected"]


@pytest.mark.skipif(not Path("/usr/sbin/apache2").exists(), reason="apt-get install apache2")
def test_children_that_httpd_starts_before_it_reads_its_files_prove_nothing() -> None:
    """It tends its spare children once more after the signal; then it reads an address that it cannot have, and ends."""
    with public_directory() as directory, socket.create_server(("127.0.0.1", 0)) as taken:
        httpd = Httpd(directory)
        few = "ThreadsPerChild 32\nMaxRequestWorkers 128\nMaxKeepAliveRequests 0\n"
        good = (
            httpd.conf.read_text() + few
        )  # fewer spare threads than it wants for seconds after a start
        bad = f"{good}Listen 127.0.0.1:{taken.getsockname()[1]}\n"
        httpd.conf.write_text(good)
        with host(directory, httpd.definition + "reload.on_failure = 'restore'\n") as running:
            running.ready("web")
            for _ in range(5):
                httpd.conf.write_text(bad)
                with load(httpd.port, 300, "--keep", "2"):
                    code, ended = running.ctl("reload", "web")
                assert (code, ended["verdict"]) == (152, "rolled_back"), ended
                assert httpd.conf.read_text() == good
            httpd.say("two")
            code, ended = running.ctl("reload", "web")
            assert (code, ended["verdict"]) == (0, "applied"), ended
            assert httpd.get() == "two"


def named(recipe: str, *command: str) -> list[str]:
    """What the recipe's own command names, as it would be asked."""
    made: Any = recipes.load(recipe).fill({"command": list(command)})["included"]
    told = subprocess.run(made["command"], capture_output=True, text=True, check=True)
    found = (re.search(made["pattern"], line) for line in (told.stdout + told.stderr).splitlines())
    return [one[1] for one in found if one]


@pytest.mark.skipif(not shutil.which("promtool"), reason="apt-get install prometheus")
def test_promtool_names_the_files_of_rules(tmp_path: Path) -> None:
    main, rule = tmp_path / "prometheus.yml", tmp_path / "rules" / "a.yml"
    rule.parent.mkdir()
    main.write_text("rule_files: [rules/*.yml]\n")
    rule.write_text("groups: [{name: a, rules: [{record: x, expr: 1}]}]\n")
    assert named("prometheus", "prometheus", f"--config.file={main}") == [str(main), str(rule)]


@pytest.mark.skipif(not shutil.which("varnishd"), reason="apt-get install varnish")
def test_varnish_names_what_it_includes() -> None:
    with public_directory() as directory:  # it compiles as another user
        main, part = directory / "main.vcl", directory / "part.vcl"
        main.write_text(f'vcl 4.1; import std;\ninclude "{part}";\nbackend default none;\n')
        part.write_text('sub vcl_recv {\nstd.log("/etc/not-a-file" +\n"/nor/this");\n}\n')
        assert named("varnish", "varnishd", "-F", "-f", str(main)) == [str(main), str(part)]


def test_the_next_agent_knows_what_was_included_although_nobody_can_tell_it(
    tmp_path: Path,
) -> None:
    nginx = Including(tmp_path)
    with host(tmp_path, nginx.definition + WATCH) as running:
        first = running.ready("web")
        running.kill()
        nginx.say('two"; nonsense')
        running.start()
        bad = last(running, "rejected")
        assert bad["config"]["live"] == first["config"]["live"]
        assert nginx.get() == "one"
        nginx.say("three")
        until(lambda: nginx.get() == "three", "the mended part is served")
        assert last(running, "applied")["config"]["in_sync"]


def test_a_command_that_hangs_is_ended_and_nothing_is_taken(tmp_path: Path) -> None:
    nginx = Including(tmp_path)
    hangs, pid = tmp_path / "hangs", tmp_path / "pid"
    nginx_t = f"nginx -T -q -p {tmp_path}/ -c {nginx.conf} -g 'daemon off;'"
    script = f"test -e {hangs} && {{ sleep 600 & echo $! > {pid}; wait; }}; {nginx_t}"
    own = f'included = {{ command = ["sh", "-c", """{script}"""], pattern = "^# configuration file (.+):$", timeout = "1s" }}\n'
    with host(tmp_path, nginx.definition + own) as running:
        good = running.ready("web")
        hangs.touch()
        nginx.say("two")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "inputs_unlisted")
        assert reload["message"] == "cannot list the included files: sh did not end within 1s"
        assert nginx.get() == "one"
        assert running.service("web")["config"]["live"] == good["config"]["live"]
        until(lambda: not Path(f"/proc/{int(pid.read_text())}").exists(), "its group is killed")
        hangs.unlink()
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied")
        assert nginx.get() == "two"


def test_what_was_included_is_put_back(tmp_path: Path) -> None:
    """The check finds nothing wrong with an address that somebody else holds; nginx says that it did not take it."""
    nginx = Including(tmp_path)
    restore = 'reload.on_failure = "restore"\n'
    more = f'reload.verify = {{ http = "http://127.0.0.1:{nginx.port}/", for = "100ms" }}\n'
    with host(tmp_path, nginx.definition + more + restore) as running:
        good = running.ready("web")
        part = nginx.parts / "a.part"
        was = part.read_text()
        renamed(part, "map $uri $said { default $no; }\nmap $uri $no { default 1; }\n")
        new = nginx.parts / "b.part"
        new.write_text(f"server {{ listen 127.0.0.1:{nginx.port} default_server; return 500; }}\n")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (152, "rolled_back"), reload
        assert (part.read_text(), new.exists()) == (was, False)
        assert running.service("web")["config"]["live"] == good["config"]["live"]
        assert nginx.get() == "one"
