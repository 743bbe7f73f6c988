"""Status as a table, and under it what is wrong and what to type.

Drawn by hand also on a terminal: importing a table library takes longer than asking the agent and drawing together.
"""

from reloadctl.jsontext import Document
from reloadctl.out import line
from reloadctl.render.look import BAD, Look, ago, clock, duration, short, size, tone
from reloadctl.render.table import table

HEAD = ("NAME", "PHASE", "VERSION", "PID", "UPTIME", "CPU", "MEMORY", "RESTARTS", "LAST RELOAD")
SPARE = (7, 5, 6, 4)
"""What a narrow terminal does without: restarts, CPU, memory, uptime."""


def render(document: Document, view: Look, now: float) -> str:
    """The whole text; ``now``: Unix time, to say how long ago a reload was."""
    services = document["services"]
    lines = ["no services are defined"]
    if services:
        lines = table([HEAD, *(_row(service, now) for service in services)], view, (1, 8), SPARE)
    wrong = [
        f"{view.paint(line(service['name']), 'bold')}: {view.paint(text, color)}"
        for service in services
        for text, color in _troubles(service)
    ]
    telemetry = document["agent"].get("telemetry")
    if telemetry and telemetry["last_error"]:
        lag = f", the oldest for {duration(telemetry['oldest_s'])}" if telemetry["oldest_s"] else ""
        text = f"{telemetry['pending']} wait{lag}: {line(telemetry['last_error'])}"
        wrong.append(f"{view.paint('telemetry', 'bold')}: {view.paint(text, 'yellow')}")
    notices = document["agent"].get("notices", ())
    wrong += [
        f"{view.paint('agentd', 'bold')}: {view.paint(line(text), 'yellow')}" for text in notices
    ]
    if wrong:
        lines += ["", *wrong]
    return view.plain("\n".join(lines)) + "\n"


def _row(service: Document, now: float) -> tuple[str, ...]:
    instances = service["instances"]
    last = service["last_reload"]
    pid = up = cpu = memory = restarts = reloaded = "-"
    if instances:
        newest = next((i for i in reversed(instances) if i["pid"]), instances[-1])
        pid = str(newest["pid"] or "-")
        busy, resident = newest["cpu_percent"] or 0, newest["rss_bytes"] or 0
        beside = [i for i in instances if i is not newest and i["pid"]]
        if beside:
            pid += f" +{len(beside)}"
            busy += sum(i["cpu_percent"] or 0 for i in beside)
            resident += sum(i["rss_bytes"] or 0 for i in beside)
        up = duration(newest["uptime_s"] or 0)
        cpu = f"{busy:.1f}%"
        memory = size(resident)
        restarts = str(newest["restarts"])
    if last:
        reloaded = f"{last['verdict'] or 'running'} {ago(last['at'], now)} ({last['trigger']})"
    phase = service["phase"]
    if (of := service.get("declared_instances", 1)) > 1:
        ready = service["ready_instances"]
        phase = f"ready {ready}/{of}" if ready else f"{phase} 0/{of}"
    if service["held"]:
        phase += ", held"
    return line(service["name"]), phase, _version(service), pid, up, cpu, memory, restarts, reloaded


def _version(service: Document) -> str:
    config = service["config"]
    if not config["live"]:
        return "unknown" if service["instances"] else "-"
    version = str(config["version"] or short(config["live"]))
    return f"{line(version)} ≠ disk" if _drifted(config) else version


def _drifted(config: Document) -> bool:
    return bool(config["live"] and config["on_disk"] and config["live"] != config["on_disk"])


_TELLING = BAD | {"unverified"}


def _troubles(service: Document) -> "list[tuple[str, str]]":
    """(sentence, colour), the worst first."""
    found: list[tuple[str, str]] = []
    name, phase, config = line(service["name"]), service["phase"], service["config"]
    if service["want"] == "up" and phase != "ready":
        why = service.get("why")
        found.append(
            (f"{phase}: {line(why)}" if why else f"is wanted up and is {phase}", tone(phase))
        )
    if following := service.get("next_start"):
        found.append((line(following["text"]), "red"))
    if declined := service.get("definition"):
        again = f"reloadctl reload {name}" if declined["in_force"] else "reloadctl apply"
        text = f"{line(declined['text'])} ({again} tries it again)"
        found.append((text, "red"))
    last = service["last_reload"]
    same = declined and last and declined["reload_id"] == last["reload_id"]
    if last and last["verdict"] in _TELLING and not same:
        message = f": {line(last['message'])}" if last.get("message") else ""
        found.append((f"last reload {last['verdict']}{message} (reloadctl show {name})", "red"))
    if poison := service.get("quarantine"):
        reason = f": {line(poison['reason'])}" if poison.get("reason") else ""
        version = poison.get("version") or short(poison["hash"])
        found.append(
            (f"quarantined {version}{reason}; only a person's reload tries it again", "yellow")
        )
    if service["held"]:
        found.append((f"{_held(service.get('hold') or {})} (reloadctl release {name})", "yellow"))
    if _drifted(config) and not service.get("running"):
        text = f"on disk is {short(config['on_disk'])}, live is {short(config['live'])}"
        found.append((f"{text} (reloadctl reload {name})", "yellow"))
    if unlisted := config.get("unlisted"):
        found.append((f"{line(unlisted)}; what is on disk may be more than is known", "yellow"))
    found += [(_beside(i), "yellow") for i in service["instances"] if not i.get("serves", True)]
    found += _not_sure_yet(service)
    found += [
        (f"reload {service[key]} {verb}", "yellow")
        for key, verb in (("running", "runs"), ("waiting", "waits"))
        if service.get(key)
    ]
    return found


def _not_sure_yet(service: Document) -> "list[tuple[str, str]]":
    """What was applied and may still be put back."""
    found = []
    if trial := service.get("on_trial"):
        at, id_ = str(trial["until"])[11:19], trial["reload_id"]
        text = f"on trial, goes back to {short(trial['back_to'])} at {at} UTC"
        found.append((f"{text} (reloadctl confirm {id_})", "yellow"))
    if soak := service.get("soak"):
        text = f"{line(soak['version'])} soaks until {clock(soak['until'])} UTC"
        failures, why = soak["failures"], line(soak["why"])
        told = f", {failures} of {failures + soak['passes']} probes failed: {why}"
        found.append((text + (told if failures else ""), "yellow" if failures else "dim"))
    if (alive := service.get("alive")) and alive["failures"]:
        text = f"not alive, {alive['failures']} of {alive['threshold']} times: {line(alive['why'])}"
        found.append((text, "yellow"))
    return found


def _beside(instance: Document) -> str:
    """A generation that does not serve: the next one, or one on its way out."""
    next_ = instance["phase"] in ("starting", "ready")
    what = "the next generation" if next_ else "generation"
    return f"{what} {instance['generation']} is {instance['phase']}, pid {instance['pid'] or '-'}"


def _held(hold: Document) -> str:
    who = f" by {line(hold['user'])}" if hold.get("user") else ""
    return f"held{who}" + (f": {line(hold['reason'])}" if hold.get("reason") else "")
