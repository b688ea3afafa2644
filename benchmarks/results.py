"""Seconds to read a table of results and to draw its curves, by how many times today's rows it has.

    python benchmarks/results.py [--notebook 03] [--times 1 10 100] [--repeats 3]

Process time of one thread, interleaved: median (min to max) in milliseconds. A table grows by seeds: copies of the
committed quick results under other seeds, each a little off.
"""
import argparse
import tempfile
from functools import partial
from pathlib import Path

from clock import interleaved, spread

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import pandas as pd  # noqa: E402

import lib  # noqa: E402
from lib.checksums import seal  # noqa: E402
from lib.files import ROOT, write  # noqa: E402
from lib.report.rows import check, load_results, parts, to_csv  # noqa: E402


def grown(df, times):
    """The table and its copies: `times` as many seeds."""
    seeds = df["seed"].max() + 1
    copies = [df.assign(seed=df["seed"] + i * seeds, value=df["value"] * (1 + 1e-3 * i)) for i in range(times)]
    return check(pd.concat(copies, ignore_index=True))


def written(df, notebook, folder):
    """Write a table as `save_results` does, whole."""
    long, curves = parts(df)
    about = write(folder / f"{notebook}.meta.json", "{}\n")
    timing = write(folder / f"{notebook}.timing.csv", to_csv(df[:0]))
    seal(write(folder / f"{notebook}.csv", long), write(folder / f"{notebook}.curves.csv", curves), about, timing)


def make(df):
    """The curves of the notebook; how long their image takes is a matter of the panels, not of the rows."""
    plt.close(lib.curves(df))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebook", default="03")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    today = load_results("quick", args.notebook, where=ROOT / "results" / "quick")
    todo = {}
    with tempfile.TemporaryDirectory() as folder:
        for times in args.times:
            df, where = grown(today, times), Path(folder) / str(times)
            written(df, args.notebook, where)
            todo["read", times, len(df)] = partial(load_results, "quick", args.notebook, where=where)
            todo["make curves", times, len(df)] = partial(make, df)
        for (what, times, rows), seconds in interleaved(todo, args.repeats, warm=1).items():
            print(f"{what:12} x{times:<4} {rows:7} rows {spread(seconds, 1000, 0):>24} ms", flush=True)


if __name__ == "__main__":
    main()
