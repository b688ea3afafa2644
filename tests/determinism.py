"""What is byte for byte the same, and what is not, when the same setting runs under other circumstances.

    python tests/determinism.py                            # prints the table of docs/determinism.md
    python tests/determinism.py --python other/bin/python  # and one more row, for another interpreter

Two nets are trained and unlearned on a few images, in an empty store each time, and compared with the first run: the
keys of all results, the trained and unlearned states, the curves (but for seconds), and the CSV of notebook 02.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mutants import copied

ROOT = Path(__file__).resolve().parents[1]
METHODS = "{Original: {}, Retrain: {}, Retrain/again: {name: again}, FT: {}, NoT: {}}"
COMMON = f"""
      dataset: digits
      n_train: 200
      n_test: 200
      clients: 3
      targets: [0]
      lr: 0.05
      momentum: 0.9
      batch_size: 16
      local_epochs: 1
      rounds: 2
      unlearn_rounds: 2
      every: 1
      mia_draws: 2
      methods: {METHODS}
"""
NETS = {"small_cnn": "width: 8", "resnet18": "width: 8\n      size: 16\n      channels: 3"}
WITH_NET = "    {net}:{common}      model: {net}\n      {own}\n      threads: {threads}\n"
HASHES = ("code", "method_code", "data")        # the parts of a key that are hashes of code and of images


class Case(NamedTuple):
    """A circumstance. how: `plain` (lib alone), `job`, `kernel`, or the options of run_all.sh; env: what is set."""
    words: str
    how: str = "plain"
    env: dict = {}
    threads: int = 1
    elsewhere: bool = False
    python: str = sys.executable


BASE = Case("the first run: `lib` as a script, 1 thread, `PYTHONHASHSEED=0`, `LC_ALL=C.UTF-8`, `TZ=UTC`")
TWO = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
CASES = [
    Case("the same again"),
    Case("`PYTHONHASHSEED=1`", env={"PYTHONHASHSEED": "1"}),
    Case("`PYTHONHASHSEED=random`", env={"PYTHONHASHSEED": "random"}),
    Case("`LC_ALL=C`", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Case("`LC_ALL=de_DE.UTF-8`", env={"LC_ALL": "de_DE.UTF-8"}),
    Case("`TZ=Pacific/Auckland`", env={"TZ": "Pacific/Auckland"}),
    Case("another folder", elsewhere=True),
    Case("a job (`python -m workflow.run`)", "job"),
    Case("a kernel (`python -m workflow.execute`)", "kernel"),
    Case("`./run_all.sh -j 1`", "-j 1"),
    Case("`./run_all.sh -j 2`", "-j 2"),
    Case("`threads: 2`", threads=2, env=TWO),
]


def profile(folder, nets=NETS, seeds="[0]", threads=1):
    """The file of a profile of notebook 02 with these nets."""
    settings = [WITH_NET.format(net=net, common=COMMON, own=own, threads=threads) for net, own in nets.items()]
    path = folder / "determinism.yaml"
    path.write_text(f"seeds: {seeds}\nnotebooks:\n  '02':\n{''.join(settings)}", encoding="utf-8")
    return path


def script(path):
    """Run all of a profile's notebook 02 by `lib` alone; called in a process of its own."""
    import lib
    from lib.profiles import load
    chosen = load(path)
    tasks = lib.tasks(chosen["notebooks"]["02"], chosen["seeds"])
    records = lib.run_all(tasks, lib.open_store(chosen["profile"]))
    df = lib.rows(records, profile=chosen["profile"], notebook="02", table="not_table1")
    lib.save_results(chosen["profile"], "02", df, tasks)


def ran(case, folder, **of_profile):
    """Run one case in an empty folder, in processes of its own; what it left, see `left`."""
    folder.mkdir(parents=True)
    path = profile(folder, threads=case.threads, **of_profile)
    root = copied(folder / "clone of it") if case.elsewhere else ROOT
    env = {name: value for name, value in os.environ.items() if not name.startswith(("FU_", "LC_", "LANG"))}
    env |= {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            "PYTHONPATH": str(root), "FU_RUNS": str(folder), "REPRO_PYTHON": case.python, "REPRO_NO_INSTALL": "1"}
    [notebook] = root.glob("notebooks/02_*.ipynb")
    runs = folder / path.stem
    command = {"plain": [case.python, root / "tests/determinism.py", "--script", path],
               "job": [case.python, "-m", "workflow.run", "--profile", path],
               "kernel": [case.python, "-m", "workflow.execute", notebook, runs / "notebooks" / notebook.name,
                          "--profile", path]}
    words = command.get(case.how) or [root / "run_all.sh", "--profile", path, *case.how.split()]
    done = subprocess.run([str(word) for word in words], cwd=root, env=env | case.env, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{case.words}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return left(runs)


def left(runs):
    """`(entries, CSV)`: `{what a result is, but for its hashes: (key, curve, files of states)}` of a store, and the
    bytes of the CSV or None."""
    found = {}
    for path in sorted(runs.glob("store/*/*/record.json")):
        body = json.loads(path.read_text(encoding="utf-8"))["body"]
        what = json.dumps(without_hashes(body["key"]), sort_keys=True)
        curve = [{k: v for k, v in point.items() if k != "seconds"} for point in body["record"].get("curve", [])]
        found[what] = path.parent.name, curve, sorted(path.parent.glob("*.safetensors"))
    table = runs / "results/02.csv"
    return found, table.read_bytes() if table.exists() else None


def without_hashes(key):
    """A key, and the task in it, without the hashes of code and data."""
    if not isinstance(key, dict):
        return key
    return {name: without_hashes(value) for name, value in key.items() if name not in HASHES}


def compared(base, other):
    """`(keys, states, curves, CSV)`: `same`, or how they differ, for the results of the first run."""
    first, table = base
    second, other_table = other
    if not first.keys() <= second.keys():
        missing = len(first.keys() - second.keys())
        return f"{missing} of {len(first)} results are others", "", "", ""
    pairs = {}
    for what in sorted(first):
        pairs.setdefault(json.loads(what)["task"]["model"], []).append((first[what], second[what]))
    return (*(by_net(pairs, words) for words in (names, states, curves)), tables(table, other_table))


def by_net(pairs, words):
    """`same` where that is so for all nets, else the words for each; pairs: `{net: [(result, other result)]}`."""
    found = {net: words(some) for net, some in pairs.items()}
    if set(found.values()) == {"same"}:
        return "same"
    return "; ".join(f"{net}: {text}" for net, text in found.items())


def names(pairs):
    """Whether all results stand under the same names."""
    other = sum(a[0] != b[0] for a, b in pairs)
    return f"{other} of {len(pairs)} differ" if other else "same"


def states(pairs):
    """Whether the files of the states are the same bytes; else the largest difference, of the tensor's largest entry."""
    from safetensors.torch import load_file
    worst, differing, count = 0.0, 0, 0
    for (_, _, some), (_, _, others) in pairs:
        for a, b in zip(some, others, strict=True):
            count += 1
            if a.read_bytes() == b.read_bytes():
                continue
            differing += 1
            x, y = load_file(a), load_file(b)
            for name in x:
                top = x[name].double().abs().max().item() or 1.0
                worst = max(worst, (x[name].double() - y[name].double()).abs().max().item() / top)
    return f"{differing} of {count} differ, by up to {worst:.0e}" if differing else "same"


def curves(pairs):
    """Whether all points of the curves are the same; else the largest difference of each kind of number."""
    worst = {}
    for (_, some, _), (_, others, _) in pairs:
        if json.dumps(some) == json.dumps(others):
            continue
        for a, b in zip(some, others, strict=True):
            for name in a:
                kind = "losses" if name.endswith("_loss") else "percentages"
                worst[kind] = max(worst.get(kind, 0.0), abs(a[name] - b[name]))
    parts = [f"{kind} by up to {value:.1g}" for kind, value in sorted(worst.items()) if value]
    return ", ".join(parts) or "same"


def tables(a, b):
    if a is None or b is None:
        return "none is written"
    if a == b:
        return "same"
    lines = list(zip(a.splitlines(), b.splitlines(), strict=True))
    return f"{sum(x != y for x, y in lines)} of {len(lines)} lines differ"


def has_locale(case):
    """Whether this machine has the locale of a case."""
    there = subprocess.run(["locale", "-a"], text=True, capture_output=True).stdout.lower().replace("-", "").split()
    return case.env.get("LC_ALL", "C").lower().replace("-", "") in there


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--script", help=argparse.SUPPRESS)
    parser.add_argument("--python", action="append", default=[], help="another interpreter that has the packages")
    options = parser.parse_args()
    if options.script:
        return script(options.script)
    others = []
    for python in options.python:
        version = subprocess.run([python, "-V"], text=True, capture_output=True, check=True).stdout.strip()
        others.append(Case(f"{version} in place of {platform.python_version()}", python=python))
    print("| compared with the first run | keys | states | curves | CSV |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="determinism-") as folder:
        base = ran(BASE, Path(folder) / "base")
        for i, case in enumerate([*CASES, *others]):
            if has_locale(case):
                row = compared(base, ran(case, Path(folder) / str(i)))
            else:
                row = ("not on this machine", "", "", "")
            print(f"| {case.words} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
