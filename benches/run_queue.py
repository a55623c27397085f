#!/usr/bin/env python3
"""Who made the executor wait for its CPU: reads the scheduler's own record of one core.

    perf record -C 0 -e sched:sched_switch,sched:sched_wakeup -o FILE -- sleep 20
    perf script -i FILE -F comm,tid,cpu,time,event,trace | python3 benches/run_queue.py

A latency taken on a shared machine holds the waits for everything else that runs there. This tells them apart: for each
time that the thread `ringgate-0` was ready and did not run, it names what ran instead (the longest of several), and prints
per name how often, how long in sum, and the median, the 99th percentile and the longest in microseconds. `crew` is all
threads of the crew for blocking work together; `(at once)` is the bare switch, when nothing else ran in between.
"""
import re
import sys

EXECUTOR = sys.argv[1] if len(sys.argv) > 1 else "ringgate-0"
SWITCH = re.compile(r" (\d+\.\d+): +sched:sched_switch: prev_comm=(.*) prev_pid=\d+ prev_prio=\d+ prev_state=(\S+)"
                    r" ==> next_comm=(.*) next_pid=\d+ ")
WAKEUP = re.compile(r" (\d+\.\d+): +sched:sched_wakeup: comm=(.*) pid=\d+ ")


def name(comm):
    return "crew" if comm.startswith("crew-") else comm.split(":")[0]


def waits(lines):
    """Yields (name of what ran instead, wait in µs)."""
    ready_since = running_since = None
    instead = {}
    for line in lines:
        if switch := SWITCH.search(line):
            at, before, state, after = float(switch[1]), switch[2], switch[3], switch[4]
            if ready_since is not None and before != EXECUTOR and not before.startswith("swapper"):
                ran = at - max(ready_since, running_since or ready_since)
                instead[name(before)] = instead.get(name(before), 0) + ran
            if after == EXECUTOR and ready_since is not None:
                yield (max(instead, key=instead.get) if instead else "(at once)", (at - ready_since) * 1e6)
                ready_since = None
            if before == EXECUTOR:
                # Still runnable (R) means that it was interrupted: it waits from here on.
                ready_since, instead = (at if state.startswith("R") else None), {}
            running_since = at
        elif (wakeup := WAKEUP.search(line)) and wakeup[2] == EXECUTOR and ready_since is None:
            ready_since, instead = float(wakeup[1]), {}


def main():
    by_name = {}
    for who, wait in waits(sys.stdin):
        by_name.setdefault(who, []).append(wait)
    if not by_name:
        sys.exit(f"no thread named {EXECUTOR} was switched to")
    print(f"{'instead':16} {'waits':>8} {'sum, ms':>9} {'median':>8} {'p99':>8} {'longest':>8}  µs")
    for who, some in sorted(by_name.items(), key=lambda item: -sum(item[1])):
        some.sort()
        at = lambda share: some[min(len(some) - 1, int(share * len(some)))]
        print(f"{who:16} {len(some):8} {sum(some) / 1e3:9.1f} {at(.5):8.0f} {at(.99):8.0f} {some[-1]:8.0f}")


main()
