"""How a run is disturbed: drawn at random, at a moment that is a call of one rank, counted."""

import errno
import os
import signal
import time
from dataclasses import dataclass

from runs import state

# What a system says of each kind of call.
ERRORS = {
    "read": [errno.EIO, errno.ESTALE],
    "open": [errno.EIO, errno.EACCES, errno.EMFILE],
    "write": [errno.ENOSPC, errno.EIO],
    "rename": [errno.EIO, errno.EACCES],
    "sync": [errno.EIO, errno.ENOSPC],
    "map": [errno.ENOMEM],
    "list": [errno.EIO, errno.EACCES],
    "look": [errno.EIO, errno.EACCES],
    "mkdir": [errno.ENOSPC, errno.EACCES],
    "resize": [errno.ENOSPC, errno.EIO],
    "memory": [errno.ENOMEM],
}
INTERRUPTED = {"read", "write", "open", "sync", "resize"}


@dataclass
class Disturbance:
    """`expects`: harmless (as if nothing had happened), error, death (by `value`, a signal), silence (a peer notices) or
    stop (75, to be resumed)."""
    kind: str
    rules: list
    expects: str
    rank: int = 0
    call: str = ""
    path: str = ""
    value: int = 0
    when_hit: object = None

    def __str__(self):
        where = f" rank {self.rank} {self.call} {self.path}" if self.call else ""
        return f"{self.kind}{where} [{'; '.join(self.rules)}]"


def kinds(variant, ranks, timeout):
    """With weights."""
    known = {"nothing": 2, "error": 34, "end of file": 5, "short": 5, "interrupted": 3, "memory": 8}
    known |= {"kill": 14, "pause": 6, "hold": 3, "signal": 10}
    if ranks and variant.journal:
        known |= {"signal to launcher": 4}
    if variant.watches_peers and ranks > 1 and timeout:
        known |= {"slow": 30, "stop": 18, "hang": 14}
    return known


def draw(random, variant, ranks, timeout, events):
    weights = kinds(variant, ranks, timeout)
    kind = random.choices(list(weights), list(weights.values()))[0]
    if kind == "nothing":
        return Disturbance(kind, [], "harmless")
    if kind == "slow":
        return slow(random, timeout, events)
    calls = {"end of file": {"read"}, "short": {"read", "write"}, "interrupted": INTERRUPTED, "memory": {"memory"},
             "hang": {"read", "open"}}.get(kind, set(ERRORS))
    if kind == "error":
        calls = calls - {"memory"}
    ranks_with = [rank for rank in sorted(events) if any(call in calls for call, _ in events[rank])]
    if not ranks_with:
        return Disturbance("nothing", [], "harmless")
    rank = random.choice(ranks_with)
    call, path = random.choice(sorted({event for event in events[rank] if event[0] in calls}))
    at = random.randint(1, events[rank].count((call, path)))
    made = Disturbance(kind, [], "harmless", rank, call, path)
    action = made_of(kind, random, variant, made)
    made.rules = [f"{rank} {call} {path} {at} {action}"]
    return made


def made_of(kind, random, variant, made):
    """The library's action; completes `made`."""
    if kind in ("error", "memory"):
        made.expects, made.value = "error", random.choice(ERRORS[made.call])
        return f"fail {made.value}"
    if kind == "interrupted":
        return f"fail {errno.EINTR}"
    if kind == "end of file":
        made.expects = "error"
        return "end"
    if kind == "short":
        return "short"
    if kind == "kill":
        made.expects, made.value = "death", signal.SIGKILL
        return "kill"
    if kind == "signal":
        made.value = random.choice([signal.SIGUSR1, signal.SIGTERM])
        made.expects = "stop" if variant.journal else "death"
        return f"signal {int(made.value)}"
    if kind == "stop":
        made.expects = "silence"
        return "stop"
    if kind == "hang":
        made.expects = "silence"
        return "hang"
    if kind == "pause":
        rank, seconds = made.rank, random.uniform(0, 1)
        made.when_hit = lambda process, pids, notes: continue_stopped(pids[rank], seconds)
        return "stop"
    if kind == "signal to launcher":
        made.expects, made.value = "stop", signal.SIGUSR1
        made.when_hit = lambda process, pids, notes: signal_launcher(process, pids[made.rank])
        return "stop"
    assert kind == "hold"
    seconds = random.uniform(0, 1)
    made.when_hit = lambda process, pids, notes: release(notes, seconds)
    return "hold"


def slow(random, timeout, events):
    """A storage that makes the run last three times as long as peers have patience, though no read takes long."""
    victims = random.choice([sorted(events), [random.choice(sorted(events))]])
    rules = []
    for rank in victims:
        reads = sum(call == "read" for call, _ in events[rank])
        if reads:
            rules.append(f"{rank} read * 1+ delay {min(100 * timeout, 3000 * timeout // reads + 1)}")
    return Disturbance("slow", rules, "harmless")


def continue_stopped(pid, seconds):
    while state(pid) not in "TZX":
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def release(notes, seconds):
    time.sleep(seconds)
    (notes / "go").touch()


def signal_launcher(process, pid):
    """mpirun passes it on: to a rank that is stopped, so that it can be seen to have come before the rank goes on."""
    while state(pid) not in "TZX":
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGUSR1)
    while not pending(pid, signal.SIGUSR1) and state(pid) == "T":
        time.sleep(0.01)
    os.kill(pid, signal.SIGCONT)


def pending(pid, number):
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
