"""Hardly more than the output half of an agent: starts writers or adopts them, and lives until it is killed.

``output_agent.py DIR start COUNT WRITERS`` / ``output_agent.py DIR adopt``. DIR/state.json holds what the next one needs. Says
``ready`` once it reads, then a line each time the captured output has grown; the writers read its stdin at their end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from agentd.core.spec import LogSpec, ProcessSpec, Spec
from agentd.ports import Key
from agentd.system.output import SplicedOutput

SPEC = Spec("web", ProcessSpec(("web",)), logs=LogSpec(size=6000, keep=1000))
STEP = 20_000

WRITER = """
import os, sys, time
name, count = sys.argv[1], int(sys.argv[2])
begin = time.monotonic()
for n in range(count):
    os.write(1, b"%s %07d %s\\n" % (name.encode(), n, b"x" * (n % 40)))
    if n % 10 == 9:
        time.sleep(max(0, begin + n / float(sys.argv[3]) - time.monotonic()))
os.read(0, 1)
os.write(1, b"%s last words" % name.encode())
"""


def start(output: SplicedOutput, count: str, writers: int) -> dict[str, tuple[int, int]]:
    state = {}
    for generation in range(1, writers + 1):
        key = Key("web", generation)
        fd = output.open(key, SPEC)
        argv = [sys.executable, "-S", "-c", WRITER, f"w{generation}", count, str(10_000 / writers)]
        child = subprocess.Popen(argv, stdout=fd, start_new_session=True)
        os.close(fd)
        state[str(generation)] = (child.pid, output.inode(key))
        child.returncode = 0  # not ours to wait for: it outlives us
    return state


async def main(directory: Path, how: str, count: str = "0", writers: str = "0") -> None:
    output = SplicedOutput(asyncio.get_running_loop(), directory / "logs")
    if how == "start":
        state = start(output, count, int(writers))
        (directory / "state.json").write_text(json.dumps(state))
    else:
        for generation, (pid, inode) in json.loads((directory / "state.json").read_text()).items():
            assert output.adopt(Key("web", int(generation)), SPEC, pid, inode)
    print("ready", flush=True)
    at = output.offset("web")
    while True:
        await output.grown("web", at + STEP)
        at += STEP
        print("grown", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
