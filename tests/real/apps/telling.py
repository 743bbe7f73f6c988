"""A service that reloads by the handshake of systemd.service(5), Type=notify-reload, and does it as its file says.

``$APP_FILE`` names a JSON file; on SIGHUP it is read again and obeyed:

    {"say": [["RELOADING", "READY"]], "pause_s": 0.2, "stale": true, "die": true}

``say`` is a list of datagrams, each a list of lines. ``RELOADING`` stands for RELOADING=1 with the MONOTONIC_USEC of now (``stale``:
of an hour ago), ``READY`` for READY=1, ``HASH`` for X_AGENTD_CONFIG_HASH with the hash of its state file; everything else is sent as it
is. ``instances`` may have another ``say`` for one by its number. ``pause_s`` is waited before each but the first. ``die``
ends the process before it says anything.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path


def spelled(word: str, *, stale: bool) -> str:
    match word:
        case "RELOADING":
            return (
                f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000 - stale * 3_600_000_000}"
            )
        case "READY":
            return "READY=1"
        case "HASH":
            state = json.loads(Path(os.environ["AGENTD_STATE_FILE"]).read_text())
            return f"X_AGENTD_CONFIG_HASH={state['config_hash']}"
        case _:
            return word


def send(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def reload(told: dict[str, object]) -> None:
    if told.get("die"):
        print("told to die", file=sys.stderr, flush=True)
        os._exit(4)
    mine: dict[str, object] = told.get("instances", {})  # type: ignore[assignment]
    say = mine.get(os.environ["AGENTD_INSTANCE_NUMBER"], told.get("say", []))
    for number, lines in enumerate(say):  # type: ignore[arg-type]
        time.sleep(told.get("pause_s", 0) if number else 0)  # type: ignore[arg-type]
        send("\n".join(spelled(word, stale=bool(told.get("stale"))) for word in lines))


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
send("READY=1")
while signal.sigwait({signal.SIGHUP}):
    reload(json.loads(Path(os.environ["APP_FILE"]).read_text()))
