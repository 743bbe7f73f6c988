"""Checks that look at a copy of what was read, and warnings that are errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host import Nginx, host, public_directory, until
from test_edges import server, sh, up

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


def test_what_is_checked_is_what_was_read(tmp_path: Path) -> None:
    """The file is changed under the check: it still sees the bytes that were read, and another reload follows."""
    conf, seen = tmp_path / "web.conf", tmp_path / "seen"
    conf.write_text("good 1\n")
    edit = f"if grep -q 2 {{staged}}{conf}; then echo good 3 >{conf}; fi"
    text = f"{edit}; cat {{staged}}{conf} >>{seen}; grep -q good {{staged}}{conf}"
    with host(tmp_path, server(tmp_path, "web.conf", check=sh(text))) as running:
        up(running)
        conf.write_text("good 2\n")
        _, reload = running.ctl("reload", "web")
        assert (reload["verdict"], reload["error"]) == ("unverified", "inputs_moved")
        until(lambda: running.service("web")["config"]["in_sync"], "another reload follows")
        assert seen.read_text() == "good 1\ngood 2\ngood 3\n"
        assert running.ctl("check", "web")[1]["verdict"] == "passed"
        assert list((tmp_path / "run" / "staged").iterdir()) == []


@needs_root
def test_the_copy_is_for_the_user_of_the_service_alone() -> None:
    with public_directory() as directory:
        conf = directory / "web.conf"
        conf.write_text("good")
        check = sh(f"id -un; stat -c '%U %a' {{staged}}; cat {{staged}}{conf}; exit 3")
        definition = f"""[service.web]
command = ["/bin/sleep", "1000"]
user = "nobody"
inputs = ["{conf}"]
ready = {{ after = "0s" }}
reload = {{ check = {check}, confirm = ["delivered"] }}
"""
        with host(directory, definition) as running:
            running.ready("web")
            _, document = running.ctl("check", "web")
            assert document["output"] == ["nobody", "nobody 700", "good"]


def test_a_warning_of_nginx_is_an_error_where_that_is_declared(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    strict = nginx.definition + "[service.web.reload]\nwarnings_as_errors = true\n"
    with host(tmp_path, strict) as running:
        running.ready("web")
        twice = f"server {{ listen 127.0.0.1:{nginx.port}; server_name twice; }}\n" * 2
        (tmp_path / "conf.d" / "twice.conf").write_text(twice)
        nginx.serve("two")
        code, reload = running.ctl("reload", "web")
        assert (code, reload["verdict"], reload["error"]) == (150, "rejected", "check_warned")
        assert any("conflicting server name" in line for line in reload["output"])
        assert nginx.get() == "one"
        code, document = running.ctl("check", "web")
        assert (code, document["verdict"]) == (150, "rejected")
        assert "warning" in document["error"]
        (tmp_path / "conf.d" / "twice.conf").unlink()
        assert running.ctl("reload", "web")[0] == 0
