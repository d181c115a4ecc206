"""Programs of several processes, or of several host devices, that a test starts; each says by a file what holds."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from paritree.migration import meeting

ROOT = Path(__file__).parents[2]
# What is said of the second process where it ends itself in the middle.
DEAD = (
    "process 1: expected a word of it within 4 seconds, found none. It has ended, hangs, or did not come to the same "
    "call: look at what it said. Where one may come later than others, let them wait for each other before the call."
)


@contextmanager
def pauses() -> Iterator[list[float]]:
    """How long a meeting lets this process wait, pause by pause: as it asks for it, however slow the machine is."""
    found: list[float] = []

    def sleep(seconds: float) -> None:
        found.append(seconds)
        time.sleep(seconds)

    meeting.time = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)  # type: ignore[assignment]
    try:
        yield found
    finally:
        meeting.time = time


def connect(port: str, number: int, count: int = 2) -> None:
    """Make this process one of several of `jax.distributed`."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", count, number, initialization_timeout=60)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_alone(module: str, folder: Path, devices: int = 8) -> list[str]:
    """What a module printed that was run with a folder, where JAX sees so many devices on the CPU."""
    command = [sys.executable, "-m", module, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=_seeing(devices), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def _seeing(devices: int) -> dict[str, str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags}


def run_together(module: str, folder: Path, *others: str, count: int = 2, devices: int = 4) -> list[list[str]]:
    """What each of several processes has noted that run a module with a folder, a free port and their number.

    devices: of each, for JAX. Some of the processes may end themselves on purpose, by status 3.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, str(folder), free_port()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": _seeing(devices)}
    started = [
        subprocess.Popen([*command, str(number), *others], cwd=ROOT, **pipes)  # type: ignore[call-overload]
        for number in range(count)
    ]
    try:
        told = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode in (0, 3) for process in started), "\n".join(told)
    return [(folder / f"told {number}").read_text().splitlines() for number in range(count)]


def note(folder: Path, number: int, what: str) -> None:
    """By a file of this process's own, since the threads of collectives print at the same time."""
    with (folder / f"told {number}").open("a") as stream:
        stream.write(what + "\n")


def by_system(kind: str) -> int:
    """The bytes that the system has given to this process (`rchar`), or taken of it (`wchar`), from or to wherever."""
    found = re.search(rf"^{kind}: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
