"""Birth files: what is written comes back, and what others may have written does not."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.memory import Memory
from agentd.ports import AdapterError
from agentd.store.births import OsBirthFiles

from .values import MEMORY

FIELDS = [field.name for field in fields(Memory)]
WEB = replace(MEMORY, service="web").there


@contextlib.contextmanager
def births(directory: Path) -> Iterator[OsBirthFiles]:
    """Those of one agent."""
    made = OsBirthFiles(directory / "births")
    try:
        yield made
    finally:
        made.close()


def test_what_was_written_last_comes_back(tmp_path: Path) -> None:
    with births(tmp_path) as first:
        first.write(Memory("db"))
        first.write(replace(WEB, generation=99))
        first.write(WEB)
    with births(tmp_path) as again:
        assert (again.read(), again.notice) == ((Memory("db"), WEB), "")
    assert oct((tmp_path / "births").stat().st_mode)[-3:] == "700"
    assert oct((tmp_path / "births" / "web").stat().st_mode)[-3:] == "600"


def _laxer(path: Path) -> None:
    path.chmod(0o620)


def _somebody_elses(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, -1)


def _linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def _named_twice(path: Path) -> None:
    os.link(path, path.parent.parent / "elsewhere")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _nonsense(path: Path) -> None:
    path.write_bytes(b"\xff{")


def _another_services(path: Path) -> None:
    path.write_text(path.read_text().replace('"web"', '"db"', 1))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_laxer, "others may write it"),
        (_somebody_elses, "belongs to another user (uid 65534)"),
        (_linked, "symbolic links"),
        (_named_twice, "another name"),
        (_fifo, "another kind"),
        (_nonsense, "codec"),
        (_another_services, "tells of db"),
    ],
    ids=lambda what: getattr(what, "__name__", ""),
)
def test_what_others_may_have_written_is_not_believed(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    with births(tmp_path) as first:
        first.write(WEB)
        first.write(Memory("db"))
    spoil(tmp_path / "births" / "web")
    with births(tmp_path) as again:
        assert again.read() == (Memory("db"),)
        assert why in again.notice


def _open_to_all(path: Path) -> None:
    path.chmod(0o777)


def _a_file(path: Path) -> None:
    for name in path.iterdir():
        name.unlink()
    path.rmdir()
    path.touch()


@pytest.mark.parametrize("spoil", [_open_to_all, _somebody_elses, _a_file])
def test_a_directory_that_others_can_write_is_not_used(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with births(tmp_path) as first:
        first.write(WEB)
    spoil(tmp_path / "births")
    with births(tmp_path) as again:
        assert again.read() == ()
        assert "for birth files" in again.notice
        with pytest.raises(AdapterError, match="for birth files"):
            again.write(WEB)


def test_while_another_agent_lives_on_the_directory_who_is_there_is_that_one_s(
    tmp_path: Path,
) -> None:
    with births(tmp_path) as first:
        first.write(WEB)
        with births(tmp_path) as second:
            assert (second.read(), second.shared) == ((), True)
            assert "another agentd does" in second.notice
            with pytest.raises(AdapterError, match="another agentd"):
                second.write(Memory("web"))
        assert (first.read(), first.shared) == ((WEB,), False)
    with births(tmp_path) as third:
        assert (third.read(), third.shared) == ((WEB,), False)


def test_no_place_for_the_directory_is_said(tmp_path: Path) -> None:
    with births(tmp_path / "none") as made:
        assert "no such file" in made.notice


def test_one_that_cannot_be_replaced_does_not_stay_as_it_was(tmp_path: Path) -> None:
    with births(tmp_path) as made:
        made.write(WEB)
        (tmp_path / "births" / ".web.new").mkdir()
        with pytest.raises(AdapterError, match=r"birth file .*/web"):
            made.write(replace(WEB, generation=99))
        assert made.read() == ()


TEXTS = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS), inner),
).map(lambda value: json.dumps(value).encode())


@given(TEXTS)
def test_whatever_is_in_the_file_is_told_or_passed_over(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as place, births(Path(place)) as made:
        made.write(WEB)
        (Path(place) / "births" / "web").write_bytes(text)
        found = made.read()
        assert len(found) == (made.notice == "")
        assert all(one.service == "web" for one in found)
