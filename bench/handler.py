"""A service that says through a FIFO when it can take SIGHUP, and each time its handler runs. Started by ``react``.

The byte is written by the interpreter's own C handler (``set_wakeup_fd``): no bytecode lies between signal and byte.
"""

import os
import signal
import sys

bell = os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
signal.signal(signal.SIGHUP, lambda *_: None)
signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
os.write(bell, f"{os.getpid()}\n".encode())
while True:
    signal.pause()
