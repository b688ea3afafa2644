"""Numbers as text."""
import numpy as np

PREFIXED = {"bytes": "B", "FLOPs": "FLOP"}          # units that take kilo, mega, giga


def number(mean, sd=np.nan, unit="percent"):
    """`83.86 ± 0.17`, or without ± where there is no spread; bytes and FLOPs with a prefix; a dash for NaN."""
    if np.isnan(mean):
        return "–"
    scale, prefix = 1.0, ""
    if unit in PREFIXED:
        power = int(np.clip(np.log10(abs(mean)) // 3, 0, 7)) if mean else 0
        scale, prefix = 1000.0 ** power, " " + " kMGTPEZ"[power].strip() + PREFIXED[unit]
    spread = "" if np.isnan(sd) else f" ± {_plain(sd / scale)}"
    return _plain(mean / scale) + spread + prefix


def over_seeds(text, n, diverged, of=0):
    """A mean over n seeds; where there are fewer than were run, that as well: `98.41 (1 of 3 seeds, 2 diverged)`."""
    of = max(of, n + diverged)
    if n == of or not (n or diverged):
        return text
    words = f"{int(n)} of {int(of)} seeds" + (f", {int(diverged)} diverged" if diverged else "")
    return f"{text} ({words})" if n else words


def _plain(value):
    """Two decimals, or two digits where that says more."""
    return f"{value:.2f}" if value == 0 or 0.01 <= abs(value) < 1e5 else f"{value:.2g}"
