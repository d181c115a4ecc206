"""What every test shares: the devices. That the absence of one is a failure is an option of our own plugin."""

from __future__ import annotations

import os
from importlib.metadata import version

# Both frameworks share a card, and JAX would take most of its memory at the first call.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Nearly every program here runs once, and takes longer to compile than to run. With 0, and with XLA_FLAGS set to an
# empty text, they are compiled as for users. XLA stops at a flag that it does not know, and has dropped one since.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)
# The suite runs in as many processes as there are cores: more threads in each would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.wings import absence

DEVICES = ("cpu", "cuda")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; one that a wing does not see is a skip with the reason, or a failure if it is required."""
    name: str = request.param
    reason = absence(name, {wing: load_wing(wing).devices() for wing in WINGS})
    if reason and request.config.getoption("--require-device") == name:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return name
