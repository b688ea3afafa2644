"""What a step of training frees stays with the process, and the next step takes it as it is."""
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import json, resource
import torch
import lib.fl

def step(size, many):
    tensors = [torch.empty(size, dtype=torch.uint8).fill_(1) for _ in range(many)]

shares = []
for size, many in ((1 << 20, 100), (5 << 20, 20), (30 << 20, 5)):
    step(size, many)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(size, many)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    shares.append(faults * resource.getpagesize() / (5 * many * size))
print(json.dumps(shares))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator does as it pleases")
def test_a_step_takes_the_memory_of_the_step_before():
    """The share of the memory that the system had to clear anew, for many small tensors, some and few large ones."""
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=Path(__file__).resolve().parents[2], text=True,
                          capture_output=True, check=True)
    assert all(share < 0.05 for share in json.loads(done.stdout)), done.stdout
