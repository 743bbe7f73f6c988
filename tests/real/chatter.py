"""Prints numbered lines at a fixed rate until SIGTERM: ``chatter.py LINES_PER_SECOND``. Every line ends as it should or is torn."""

from __future__ import annotations

import signal
import sys
import time

per_second = int(sys.argv[1])
running = True


def stop(*_: object) -> None:
    global running  # noqa: PLW0603 - a signal handler of a program this small
    running = False


signal.signal(signal.SIGTERM, stop)
number, due = 0, time.monotonic()
while running:
    for _ in range(per_second // 100):
        number += 1
        sys.stdout.write(f"line {number:09d} of a service that talks a lot\n")
    sys.stdout.flush()
    due += 0.01
    time.sleep(max(0.0, due - time.monotonic()))
