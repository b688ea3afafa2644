"""Numbers as text."""
import numpy as np


def number(mean, sd=np.nan, unit="percent"):
    """`83.86 ± 0.17`, or without ± where there is no spread; bytes and FLOPs with a prefix; a dash for NaN."""
    if np.isnan(mean):
        return "–"
    scale, prefix = 1.0, ""
    if unit in ("bytes", "FLOPs"):
        power = int(np.clip(np.log10(abs(mean)) // 3, 0, 7)) if mean else 0
        scale, prefix = 1000.0 ** power, " " + " kMGTPEZ"[power].strip() + ("B" if unit == "bytes" else "FLOP")

    def plain(v):
        return f"{v:.2f}" if v == 0 or 0.01 <= abs(v) < 1e5 else f"{v:.2g}"
    return plain(mean / scale) + ("" if np.isnan(sd) else f" ± {plain(sd / scale)}") + prefix
