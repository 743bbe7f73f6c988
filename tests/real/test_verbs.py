"""diff, export and wait with a running agent: real edits of a real server, and the bytes that come out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from host import Host, Nginx, answer, clean_env, host, request, until

MASK, DIFFERS = "«masked»", "«masked, differs»"


def secretive(nginx: Nginx, canary: str) -> None:
    """An include with a password in it, and a file that is secret as a whole."""
    (nginx.dir / "conf.d" / "auth.conf").write_text(
        f'map $uri $unused {{ default 0; }}\nproxy_set_header Authorization "Basic {canary}";\n'
    )
    (nginx.dir / "key.pem").write_text(f"{canary}\n")


def versions(running: Host) -> list[Any]:
    s = running.connect()
    s.sendall(request("GET", "/v1/services/web/versions"))
    status, _, document = answer(s)
    assert status == 200
    found: list[Any] = document["versions"]
    return found


def test_what_changed_between_any_two_configurations(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    secretive(nginx, "CANARYone")
    with host(tmp_path, nginx.definition + 'secret = ["@DIR@/key.pem"]\n') as running:
        first = running.ready("web")["config"]["live"]
        same = running.text("diff", "web")
        assert same.returncode == 0
        assert same.stdout.startswith("web: no difference between live ")

        nginx.serve("two")
        secretive(nginx, "CANARYtwo")
        edited = running.text("diff", "web")
        assert (edited.returncode, edited.stderr) == (0, "")
        assert f"--- {nginx.conf}\tlive " in edited.stdout
        assert [line[:1] for line in edited.stdout.splitlines() if 'return 200 "' in line] == [
            "-",
            "+",
        ]
        assert (
            f"-proxy_set_header Authorization {MASK}\n+proxy_set_header Authorization {DIFFERS}\n"
            in edited.stdout
        )
        assert "# secret: it differs, and is never shown" in edited.stdout
        assert running.text("diff", "web", "--exit-code").returncode == 1
        assert running.ctl("diff", "web")[1]["files"][-1]["path"] == str(nginx.conf)

        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"]) == (0, "applied")
        second = reload["hash_after"]
        assert not running.ctl("diff", "web")[1]["differs"]
        assert running.ctl("diff", "web", first[7:15])[1]["from"]["hash"] == first
        assert running.ctl("diff", "web", "web", "live")[1]["differs"] is False
        back = running.ctl("diff", "web", reload["version_after"], reload["version_before"])[1]
        assert (back["from"]["hash"], back["to"]["hash"]) == (second, first)

        nginx.serve("three", broken="nonsense on;")
        assert running.ctl("reload", "web")[0] == 150
        tried = running.text("diff", "web", "last_good", "last_attempted")
        assert "nonsense on;" in tried.stdout
        assert [
            (v["hash"], v["verdict"], v["live"], v["last_good"]) for v in versions(running)[1:]
        ] == [
            (second, "applied", True, True),
            (first, "applied", False, False),
        ]
        newest = versions(running)[0]
        assert (newest["verdict"], newest["live"], newest["on_disk"]) == ("rejected", False, True)

        pruned = running.dir / "state" / "snapshots" / "manifests" / f"{first[7:]}.json"
        pruned.unlink()
        code, problem = running.ctl("diff", "web", first)
        assert code == 5
        assert problem["detail"].startswith(f"{first} (")
        assert "is not kept" in problem["detail"]
        assert len(versions(running)) == 2

        said = running.text("--json", "diff", "web", "last_attempted", "live").stdout
        said += running.text("diff", "web", "live", "on_disk").stdout
        everything = [tmp_path / "agentd.log", *tmp_path.glob("state/journal.db*")]
        assert "CANARY" not in said + edited.stdout + tried.stdout
        assert not any(b"CANARY" in path.read_bytes() for path in everything)


def test_a_service_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition + "snapshot = false\n") as running:
        running.ready("web")
        got = running.text("diff", "web")
        said = "reloadctl: web keeps no configurations (snapshot = false): there is nothing to compare\n"
        assert (got.returncode, got.stdout, got.stderr) == (5, "", said)
        assert versions(running) == []


def test_every_trace_goes_out_as_it_is_shown(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        running.ready("web")
        for n in range(5):
            nginx.serve(f"v{n}")
            assert running.ctl("reload", "web")[0] == 0
        exported = running.text("export")
        assert (exported.returncode, exported.stderr) == (0, "")
        lines = exported.stdout.splitlines(keepends=True)
        assert len(lines) == 6, "the start has a trace as well"
        oldest_first = [reload["reload_id"] for reload in running.history("web")][::-1]
        assert [running.text("show", ref, "--otlp").stdout for ref in oldest_first] == lines[1:]
        assert running.text("export", "--since", "1h").stdout == exported.stdout
        assert running.text("export", "--since", "1ms").stdout == ""
        child = subprocess.Popen(
            [sys.executable, "-m", "reloadctl", "--socket", running.socket, "export"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_env(),
        )
        assert child.stdout
        assert child.stdout.read(1) == b"{"
        child.stdout.close()
        assert child.wait(20) == 0
        assert child.stderr
        assert child.stderr.read() == b""
        child.stderr.close()


def test_the_end_of_a_reload_that_nobody_waited_for(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    with host(tmp_path, nginx.definition) as running:
        running.ready("web")
        for n in range(5):
            nginx.serve(f"v{n}")
            code, asked = running.ctl("reload", "web", "--no-wait")
            assert (code, asked["verdict"]) == (0, None)
            code, waited = running.ctl("wait", asked["reload_id"])
            assert (code, waited["verdict"], waited["reload_id"]) == (
                0,
                "applied",
                asked["reload_id"],
            )
            assert nginx.get() == f"v{n}"
        shown = running.ctl("show", waited["reload_id"])[1]
        shown.pop("trace")
        assert waited == shown == running.ctl("wait", "web")[1]
        assert running.text("wait", waited["reload_id"][:-2]).stdout.startswith("web  applied  ")

        nginx.serve("bad", broken="nonsense on;")
        _, asked = running.ctl("reload", "web", "--no-wait")
        code, waited = running.ctl("wait", asked["reload_id"].lower())
        assert (code, waited["verdict"]) == (150, "rejected")
        assert any("nonsense" in line for line in waited["output"])
        assert running.text("wait", "web").returncode == 150
        assert running.ctl("wait", "nope")[0] == 5


SLOW = """
[service.slow]
command = ["sleep", "1000"]
ready = { after = "0s" }
inputs = ["@DIR@/slow.conf"]
[service.slow.reload]
check = ["sh", "-c", "while test -e @DIR@/wait; do sleep 0.05; done"]
confirm = ["delivered"]
signal_handled = true
"""


def test_who_waits_outlasts_the_check_and_not_the_timeout(tmp_path: Path) -> None:
    (tmp_path / "slow.conf").write_text("1\n")
    with host(tmp_path, SLOW) as running:
        running.ready("slow")
        (tmp_path / "wait").touch()
        (tmp_path / "slow.conf").write_text("2\n")
        _, asked = running.ctl("reload", "slow", "--no-wait")
        code, waited = running.ctl("wait", asked["reload_id"], "--timeout", "50ms")
        assert (code, waited["verdict"], waited["reload_id"]) == (160, None, asked["reload_id"])
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "reloadctl",
                "--socket",
                running.socket,
                "--json",
                "wait",
                "slow",
            ],
            stdout=subprocess.PIPE,
            env=clean_env(),
        )
        until(lambda: connections(running) >= 1 or child.poll() is not None, "it waits")
        assert child.poll() is None
        (tmp_path / "wait").unlink()
        out, _ = child.communicate(timeout=30)
        waited = json.loads(out)
        assert (waited["reload_id"], bool(waited["verdict"])) == (asked["reload_id"], True)
        assert child.returncode == running.text("wait", "slow").returncode


def connections(running: Host) -> int:
    """To the agent's socket, as the kernel counts them."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(str(running.socket)) and " 03 " in line for line in lines)
