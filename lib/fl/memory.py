"""Memory: whether there is enough for what is about to be read, and what is done with what is free again."""
import ctypes
import os
from pathlib import Path

from ..errors import Bad

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3         # of mallopt(3)
MIB = 1 << 20


def available():
    """Bytes that can be used without swapping: what Linux says is available, elsewhere all that is built in."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def must_fit(size, where, remedy):
    """Bad, naming `where`, if so many bytes are more than is available."""
    there = available()
    if size > there:
        raise Bad(f"{where}: its images take {size / 1e9:.1f} GB and {there / 1e9:.1f} GB of memory are free; {remedy}")


def keep_freed(block=32 * MIB, spare=256 * MIB):
    """Have the allocator keep what is free again: blocks up to `block` bytes, and at the end of the heap up to `spare`.

    glibc gives large blocks back to the system at once, and every step of training asks for the same ones, whose pages
    the system clears anew. It goes before what MALLOC_* variables say. Elsewhere than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and mallopt(M_MMAP_THRESHOLD, block):
        mallopt(M_TRIM_THRESHOLD, spare)
