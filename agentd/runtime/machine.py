"""What the runtime drives, gathered: one value that ``assemble`` fills with real adapters and the simulator with fakes."""

from __future__ import annotations

from dataclasses import dataclass

from agentd.ports import (
    BirthFiles,
    Calls,
    Commands,
    Files,
    HeldSockets,
    Listeners,
    Logs,
    Mains,
    Members,
    Notify,
    Openings,
    Opens,
    Output,
    PidFiles,
    Probes,
    Processes,
    ProcessTable,
    Stages,
    States,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The ports of one host."""

    processes: Processes
    table: ProcessTable
    commands: Commands
    probes: Probes
    output: Output
    logs: Logs
    notify: Notify
    files: Files
    members: Members
    listeners: Listeners
    calls: Calls
    states: States
    held: HeldSockets
    openings: Openings
    opens: Opens
    stages: Stages
    mains: Mains
    pid_files: PidFiles
    births: BirthFiles
