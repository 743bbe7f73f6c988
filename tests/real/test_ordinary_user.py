"""An agent that is not root holds sockets, replaces, is killed and goes on, all the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from apps_run import get
from host import free_port, load, public_directory, until
from ordinary import NOBODY, PYTHON, UserHost, app, copied, possible


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_s_agent_replaces_under_load_and_survives_its_death() -> None:
    with public_directory() as directory:
        if not possible(directory):
            pytest.skip(f"{NOBODY} cannot run {PYTHON} on this checkout")
        told = copied(directory)
        shutil.chown(directory, NOBODY, "nogroup")
        port = free_port()
        running = UserHost(directory, app(PYTHON, port))
        try:
            running.start()
            running.ready("app")
            with load(port, 300) as counts:
                for version in range(2, 6):
                    told(version=version)
                    code, reload = running.ctl("reload", "app")
                    assert (code, reload["verdict"]) == (0, "applied"), reload
                    assert get(port) == str(version)
                    if version == 3:
                        running.kill()
                        running.start()
                        running.ready("app")
                until(lambda: len(running.service("app")["instances"]) == 1, "one is left")
            assert counts["bad"] == {}
            assert Path(f"/proc/{running.pid('app')}").owner() == NOBODY
        finally:
            if running.agent is not None and running.agent.poll() is not None:
                running.start()
            running.stop()
