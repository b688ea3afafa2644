"""Times that can be compared: of this process alone, the candidates in turn, so that all see the same machine."""
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")


def interleaved(candidates, repeats, warm=2):
    """`{name: [seconds of process time]}` of functions without arguments, each called once in every repeat."""
    seconds = {name: [] for name in candidates}
    for i in range(repeats + warm):
        for name, f in candidates.items():
            begin = time.process_time()
            f()
            if i >= warm:
                seconds[name].append(time.process_time() - begin)
    return seconds


def ratios(seconds, name, to):
    """Ratios of one candidate's times to another's in the same repeat, ascending."""
    return sorted(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def spread(values, scale=1.0, digits=1):
    """`median (min to max)` of some numbers, as text."""
    values = sorted(v * scale for v in values)
    return f"{values[len(values) // 2]:.{digits}f} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"
