"""The agentd program: reads its definitions, then supervises until it is told to end."""

from __future__ import annotations

import os
import sys

import agentd.slim  # noqa: F401 - before anything imports asyncio
from agentd.options import parse
from agentd.wire import ExitCode


def main() -> int:
    """Run the agent; the exit code."""
    options = parse(sys.argv[1:], os.environ, os.getuid())
    from agentd.config.loader import ConfigErrors, describe, load  # noqa: PLC0415 - --help needs none of it

    try:
        definitions = load(options.config)
    except ConfigErrors as errors:
        print(describe(errors), file=sys.stderr)  # noqa: T201
        return ExitCode.INVALID_DEFINITION
    for warning in definitions.warnings:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    if options.check:
        count = len(definitions.services)
        print(f"{options.config}: {count} service{'' if count == 1 else 's'}, no mistakes")  # noqa: T201
        return ExitCode.OK
    if options.dry_run:
        from agentd.rehearsal import rehearse  # noqa: PLC0415 - loads everything

        return rehearse(options, definitions)
    from agentd.assemble import run  # noqa: PLC0415 - --check needs no loop, no store, no sockets

    return run(options, definitions)


if __name__ == "__main__":
    sys.exit(main())
