"""How long people wait: for the demo's address, for an ack with 200 clicks at once, and for a process to end.

Run by `make bench`. Exits 1 where a target is missed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demo.app import Demo
from demo.company import PEOPLE

ROOT = Path(__file__).resolve().parent.parent
NHI = [sys.executable, "-m", "jobs.cli"]
CLICKS = 200


def main() -> int:
    address, first_card, ends = demo()
    acks = sorted(clicks())
    rows = [
        ("demo: seconds to its address", address, 10.0),
        ("demo: seconds to the first card", first_card, 20.0),
        ("demo: seconds from SIGTERM to its end", ends, 25.0),
        (f"{CLICKS} clicks at once: slowest ack, seconds", acks[-1], 3.0),
        (f"{CLICKS} clicks at once: median ack, seconds", acks[len(acks) // 2], 3.0),
    ]
    for name, value, target in rows:
        print(f"  {name:<44} {value:8.2f}   target {target:8.2f}   {'met' if value <= target else 'MISSED'}")
    return int(any(value > target for _, value, target in rows))


def demo() -> tuple[float, float, float]:
    """Start `nhi demo` as a user does; return seconds to its address, to the first card, and to its end."""
    started = time.monotonic()
    with subprocess.Popen(
        [*NHI, "-v", "demo", "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        address = time.monotonic() - started
        for line in process.stderr:
            if "Asked" in line:
                break
        first_card = time.monotonic() - started
        asked_to_end = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        return address, first_card, time.monotonic() - asked_to_end


def clicks() -> list[float]:
    """Press 200 buttons at once, every card's several times; return each ack's seconds."""
    with Demo() as world:
        world.begin()
        actors = [world.workspace.as_(person.name) for person in PEOPLE if not (person.deleted or person.is_restricted)]
        world.workspace.wait_for(lambda: all(actor.messages() for actor in actors), 60)
        messages = [(actor, actor.messages()[-1]) for actor in actors]
        buttons = [
            (actor, message, nth)
            for actor, message in messages
            for nth in range(json.dumps(message["blocks"]).count('"nhi:claim"'))
        ]

        def press(number: int) -> float:
            actor, message, nth = buttons[number % len(buttons)]
            started = time.monotonic()
            actor.click(message, "nhi:claim", nth=nth)
            return time.monotonic() - started

        with ThreadPoolExecutor(CLICKS) as hands:
            return list(hands.map(press, range(CLICKS)))


if __name__ == "__main__":
    sys.exit(main())
