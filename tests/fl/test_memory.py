"""What a step of training frees stays with the process, and the next step takes it as it is."""
import platform
import resource

import pytest
import torch

import lib.fl  # noqa: F401

MIB = 1 << 20
PAGE = resource.getpagesize()


def step(size, many):
    """As many tensors as a small net has activations, all there at once; then all are free."""
    return [torch.empty(size, dtype=torch.uint8).fill_(1) for _ in range(many)] and None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator does as it pleases")
@pytest.mark.parametrize("size, many", [(MIB, 40), (5 * MIB, 8), (30 * MIB, 4)])
def test_a_step_takes_the_memory_of_the_step_before(size, many):
    step(size, many)
    step(size, many)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(size, many)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 0.1 * 5 * many * size / PAGE
