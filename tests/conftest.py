"""Hypothesis keeps nothing on disk, for tests also run as users who may not write here, and draws the same examples every time.

``HYPOTHESIS=random`` looks further: what it finds becomes a test of its own.

Whoever runs the tests in the background of a script, or by nohup(1), has signals ignored, and a program that is started so must keep
to that: the tests of Ctrl-C would wait for ever.
"""

import os
import signal

from hypothesis import settings

settings.register_profile(
    "agentd", database=None, deadline=None, derandomize=os.environ.get("HYPOTHESIS") != "random"
)
settings.load_profile("agentd")

for one in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(one) is signal.SIG_IGN:
        signal.signal(one, lambda *_: None)  # nothing here, and the default in what is executed
