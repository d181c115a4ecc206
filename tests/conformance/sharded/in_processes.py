"""What one of two processes does; torchrun starts them. The first tells of ports by their names, a line of JSON each.

`python -m torch.distributed.run --standalone --nproc-per-node 2 -m tests.conformance.sharded.in_processes NAME...`
"""

from __future__ import annotations

import sys
from datetime import timedelta

import torch.distributed as dist

from . import torch_models
from .telling import tell

if __name__ == "__main__":
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    tell(sys.argv[1:], torch_models, tells=dist.get_rank() == 0)
    dist.destroy_process_group()
