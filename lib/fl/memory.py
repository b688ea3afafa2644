"""Whether there is memory for what is about to be read."""
import os
from pathlib import Path

from ..errors import Bad


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
