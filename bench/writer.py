"""A busy service: waits for a word, writes lines of 200 bytes, and says through a FIFO how it went. Started by ``capture``.

``writer.py BELL GO BYTES AT_ONCE [numbered]``: when something is written into the FIFO ``GO``, BYTES in all are
written, AT_ONCE bytes with each write, numbered lines or equal ones. ``BELL`` hears ``<bytes written> <nanoseconds>``,
or ``<bytes written> broken`` when nobody read any more.
"""

import os
import sys
import time
from pathlib import Path

LINE = 200
REST = b"x" * (LINE - 10) + b"\n"


def line(number: int) -> bytes:
    return b"%09d" % number + REST


def main() -> None:
    bell, go = Path(sys.argv[1]), Path(sys.argv[2])
    total, each = int(sys.argv[3]), int(sys.argv[4])
    numbered = len(sys.argv) > 5
    go.read_bytes()
    same = line(0) * (each // LINE)
    began, written = time.monotonic_ns(), 0
    how = ""
    try:
        while written < total:
            data = same
            if numbered:
                first = written // LINE
                data = b"".join(map(line, range(first, first + each // LINE)))
            while data:
                count = os.write(1, data)
                written += count
                data = data[count:]
    except BrokenPipeError:
        how = "broken"
    bell.write_bytes(f"{written} {how or time.monotonic_ns() - began}\n".encode())
    if not how:
        time.sleep(100000)


main()
