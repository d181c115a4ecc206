"""Coverage-guided fuzzing of the readers: `python -m tests.fuzzing [--seconds N] [READER...]`.

Each reader is run by atheris in a process of its own, for its share of the time, from sound files on. An error that is
not ours, a crash, ten seconds or 4 GB for one input end it: the input is kept in --crashes, and the exit code is 1.
Where atheris is not installed, the property tests run again and again with other examples for as long.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .readers import readers

ROOT = Path(__file__).parents[2]
# Of one input, in seconds, and of the process, in MB.
LONGEST, MOST_MEMORY = 10, 4096


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"Of {', '.join(readers())}; all without.")
    parser.add_argument("--seconds", type=float, default=600, help="For all of them together.")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="Where such inputs are kept.")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (the extra `fuzz`): the property tests run instead", flush=True)
        return _properties(asked.seconds)
    names = asked.readers or list(readers())
    failed = [name for name in names if not _is_sound(name, asked.seconds / len(names), asked.crashes.absolute())]
    print(f"failed: {', '.join(failed)}" if failed else f"no fault in {', '.join(names)}")
    return int(bool(failed))


def _is_sound(name: str, seconds: float, crashes: Path) -> bool:
    """Whether one reader stood it, in a process that libFuzzer ends."""
    crashes.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        choices = [b"\0" + random.Random(number).randbytes(200) for number in range(20)]
        for number, seed in enumerate((*readers()[name].seeds, *choices)):
            Path(corpus, str(number)).write_bytes(seed)
        options = [
            *(corpus, f"-max_total_time={max(round(seconds), 1)}", f"-artifact_prefix={crashes}/{name}-"),
            *(f"-timeout={LONGEST}", f"-rss_limit_mb={MOST_MEMORY}", "-max_len=65536"),
        ]
        command = [sys.executable, "-m", "tests.fuzzing.one", name, *options]
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _properties(seconds: float) -> int:
    end = time.monotonic() + seconds
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/fuzzing"]
    while time.monotonic() < end:
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "FUZZ": "1"}, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
