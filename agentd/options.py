"""The command line of agentd and where things are when it does not say (XDG base directories for ordinary users)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentd import __version__
from agentd.config.definitions import OnTerminate


@dataclass(frozen=True, slots=True)
class Options:
    """What one agent was told."""

    config: Path
    state_dir: Path
    runtime_dir: Path
    socket: Path
    log_format: str
    on_terminate: OnTerminate
    """When the definitions do not say."""
    check: bool
    dry_run: bool = False


def parser() -> argparse.ArgumentParser:
    """The command line; agentd(8) tells the same, and a test holds it to that."""
    parser = argparse.ArgumentParser(
        prog="agentd",
        description="Supervise the services of this host and own how each of them is reloaded.",
        epilog="See agentd(8) and agentd.toml(5).",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the definitions")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="journal, snapshots, logs")
    parser.add_argument("--runtime-dir", type=Path, metavar="DIR", help="notify sockets")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="where reloadctl connects")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--on-terminate",
        choices=("stop", "leave"),
        default="stop",
        help="what SIGTERM does to the services when the definitions do not say",
    )
    parser.add_argument(
        "--check", action="store_true", help="read the definitions, say what is wrong, exit"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="see whether this agentd could take over what runs here, and exit; touches nothing",
    )
    parser.add_argument("--version", action="version", version=f"agentd {__version__}")
    return parser


def parse(argv: Sequence[str], env: Mapping[str, str], uid: int) -> Options:
    """The options; exits with 2 and the usage for what cannot be understood."""
    given = parser().parse_args(argv)
    config, state, run = _places(env, uid)
    runtime_dir = (given.runtime_dir or run).absolute()
    return Options(
        config=(given.config or config / "agentd.toml").absolute(),
        state_dir=(given.state_dir or state).absolute(),
        runtime_dir=runtime_dir,
        socket=(given.socket or run / "agentd.sock").absolute(),
        log_format=given.log_format,
        on_terminate=OnTerminate(given.on_terminate),
        check=given.check,
        dry_run=given.dry_run,
    )


def _places(env: Mapping[str, str], uid: int) -> tuple[Path, Path, Path]:
    """Configuration, state and runtime directories."""
    if uid == 0:
        return Path("/etc/agentd"), Path("/var/lib/agentd"), Path("/run/agentd")
    home = Path(env.get("HOME", "/"))
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    state = Path(env.get("XDG_STATE_HOME") or home / ".local" / "state")
    run = Path(env.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
    return config / "agentd", state / "agentd", run / "agentd"
