"""What the commonest commands load: each module named here costs more than the question itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.canned import Canned, environment, reply
from tests.cli.documents import reload, service, status

COSTLY = [
    "argparse",
    "asyncio",
    "click",
    "dataclasses",
    "datetime",
    "enum",
    "http",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "pydantic",
    "re",
    "rich",
    "selectors",
    "shutil",
    "socket",
    "subprocess",
    "traceback",
    "typer",
    "typing",
    "urllib",
    "agentd.wire",
]
SCRIPT = """
import sys
before = set(sys.modules)
from reloadctl.__main__ import main
code = main(sys.argv[1:])
print(" ".join(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("argv", "answer", "most"),
    [
        (["--json", "status"], status(service()), {"_socket"}),
        (["status"], status(service()), {"_socket", "_json", "gc"}),
        (["--json", "reload", "web"], reload(), {"_socket", "_json", "agentd"}),
        (["reload", "web"], reload(), {"_socket", "_json", "agentd"}),
        (["--json", "history"], {"reloads": [reload()]}, {"_socket"}),
        (["history"], {"reloads": [reload()]}, {"_socket", "_json"}),
        (["stop", "web"], {"service": "web", "phase": "down"}, {"_socket", "_json", "agentd"}),
        (["wait", "01JD"], reload(), {"_socket", "_json"}),
        (["--json", "diff", "web"], {"service": "web", "differs": False}, {"_socket"}),
        (["completion", "services"], status(service()), {"_socket", "_json"}),
        (["logs", "web"], {"service": "web", "lines": ["a"]}, {"_socket", "_json"}),
    ],
)
def test_a_plain_command_loads_nothing_costly(
    agent: Callable[..., Canned], argv: list[str], answer: object, most: set[str]
) -> None:
    line = [sys.executable, "-c", SCRIPT, "--socket", agent(reply(answer)).path, *argv]
    done = subprocess.run(line, env=environment(), capture_output=True, timeout=30, check=True)
    loaded = set(done.stderr.decode().split())
    assert "reloadctl.client" in loaded
    assert not loaded & set(COSTLY)
    assert {module for module in loaded if not module.startswith("reloadctl")} <= most
