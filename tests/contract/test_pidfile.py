"""Pid files: what they say, and which of them are not believed."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.ports import AdapterError
from agentd.system.pidfile import OsPidFiles, read

ME = os.geteuid()
NOBODY = 65534
needs_root = pytest.mark.skipif(ME != 0, reason="changes users")


def written(path: Path, text: str | bytes, mode: int = 0o644) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


def why(path: str | Path, uid: int = ME) -> str:
    with pytest.raises(AdapterError) as error:
        read(str(path), uid)
    return error.value.what


@pytest.mark.parametrize("text", ["42", "42\n", " 42\r\n", "        42\n"])
def test_a_number_alone_is_a_pid(text: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "pid", text), ME) == 42
    assert asyncio.run(OsPidFiles().read(str(tmp_path / "pid"), ME)) == 42


@pytest.mark.parametrize(
    "text", ["", "\n", "0", "-1", "+1", "1 2", "0x10", "12a", "1" * 11, "٤٢", " " * 64 + "42"]
)
def test_anything_else_is_none(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "pid", text)
    assert why(path) == f"pid_file {path} holds no pid"


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_pid_or_refused(data: bytes) -> None:
    path = written(Path(f"/tmp/agentd-pid-{os.getpid()}"), data)
    try:
        found = read(path, ME)
    except AdapterError as error:
        found, data = 1, error.what.encode()
        assert data == f"pid_file {path} holds no pid".encode()
    finally:
        Path(path).unlink()
    assert found > 0


def test_one_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    assert why(tmp_path / "pid") == f"pid_file {tmp_path}/pid: No such file or directory"


def test_links_pipes_and_directories_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(written(tmp_path / "pid", "42"))
    os.mkfifo(pipe)
    assert why(link) == f"pid_file {link}: Too many levels of symbolic links"
    for other in (pipe, tmp_path, Path("/dev/zero")):
        assert why(other) == f"pid_file {other} is not believed: it is no regular file"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_one_that_others_may_write_is_not_believed(mode: int, tmp_path: Path) -> None:
    path = written(tmp_path / "pid", "42", mode)
    assert why(path).endswith(f"is not believed: others may write it (mode {mode:04o})")
    assert stat.S_IMODE(Path(path).stat().st_mode) == mode


@needs_root
def test_one_of_another_user_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path / "pid", "42")
    os.chown(path, NOBODY, NOBODY)
    assert why(path) == f"pid_file {path} is not believed: it belongs to uid {NOBODY}"
    assert read(path, NOBODY) == 42, "the service's own"
    os.chown(path, 0, 0)
    assert read(path, NOBODY) == 42, "root's"
