"""What a run will take, said before it: seconds and gigabytes of every job, from committed timings or first steps here.

python -m workflow.plan [--profile P] [--only 02,07.mnist] [-j N] [--save FILE]

Prints a table of the notebooks. With --save it writes what `workflow.watch` needs to say how far a run is, in place of
the table, and measures nothing where everything has run. Estimates are rough: curvature, attacks and loading are not in
them, and a machine that does other things takes longer.
"""
import argparse
import json
import sys
from statistics import mean
from typing import NamedTuple

from . import ending

if __name__ == "__main__":
    ending.in_one_line()        # before the imports that take their time

from lib.errors import Bad
from lib.files import ROOT, runs_root, write
from lib.profiles import load, seeds_of, select
from lib.settings import complete

from .cost import SHAPES, memory_mb, state_numbers
from .facts import duration, meta, rows
from .jobs import jobs_of_their_own, notebook

REPORT = 20             # seconds of a notebook that finds all its runs in the store
LARGE_STEP = 2e11       # FLOPs of a training step that is not tried on a CPU, but counted
CORE = 2e10             # FLOPs a second of a core, where nothing was measured to tell better


class Load(NamedTuple):
    """What a setting takes at one seed. seconds: None where nothing is known; known: from what, `committed`,
    `measured`, `counted` or nothing."""
    seconds: float | None
    disk_gb: float = 0.0        # of the store
    memory_gb: float = 1.0
    known: str = ""


class Step(NamedTuple):
    """A job that run_all.sh starts, by the name that its line has: `02.cifar10 seed 0`, `02_client_unlearning`."""
    name: str
    number: str
    seconds: float | None
    disk_gb: float
    memory_gb: float
    known: str
    done: bool


# ---------------------------------------------------------------- the plan of a profile

def plan(profile, only=None, measure=True):
    """The `Step`s of what is chosen of a profile, in order. measure: whether to try first steps of what has no
    committed timing."""
    speeds = {} if measure else None
    steps = []
    for number, settings in select(profile, only).items():
        if notebook(number) is not None:
            steps += steps_of(profile, number, settings, speeds)
    return steps


def steps_of(profile, number, settings, speeds):
    """The jobs of a notebook: those of its settings and seeds, where they are jobs of their own, and its report."""
    name, stem = profile["profile"], notebook(number).stem
    timings = committed(name, number, settings)
    loads = {setting: load_of(s, timings.get(setting), speeds) for setting, s in settings.items()}
    root, report, steps = runs_root() / name, [Load(REPORT)], []
    for setting in settings:
        for seed in seeds_of(profile, number):
            if jobs_of_their_own(profile, number, settings):
                done = (root / "jobs" / f"{number}.{setting}.s{seed}.done").exists()
                steps.append(step(f"{number}.{setting} seed {seed}", number, [loads[setting]], done))
            else:
                report.append(loads[setting])
    return [*steps, step(stem, number, report, (root / "notebooks" / f"{stem}.ipynb").exists())]


def step(name, number, loads, done):
    """A `Step` of all that it runs: times and files add up, memory is that of the largest."""
    seconds = [load.seconds for load in loads]
    return Step(name, number, None if None in seconds else sum(seconds), sum(load.disk_gb for load in loads),
                max(load.memory_gb for load in loads), "+".join(sorted({load.known for load in loads} - {""})), done)


def load_of(settings, timing, speeds):
    """The `Load` of a setting at one seed."""
    seconds, known = taken(settings, timing, speeds)
    return Load(seconds, disk_gb(settings, exact=known != ""), memory_mb(settings) / 1000, known)


def checkpoints(name):
    """How many runs of a profile were killed half way, and go on from where they were."""
    begun = (runs_root() / name / "store").glob("*/*/part.json")
    return sum(not path.with_name("record.json").exists() for path in begun)


# ---------------------------------------------------------------- seconds

def committed(name, number, settings):
    """`{setting: seconds at one seed}` of the committed timings of just these settings: their runs, and a training,
    which takes what Retrain takes."""
    folder = ROOT / "results" / name
    about, seeds, found = meta(folder / f"{number}.meta.json"), {}, {}
    if not about.get("settings"):
        return {}
    from lib.report.provenance import parts_of, settings_hash
    made_of = {setting: made for part in parts_of(about) for setting, made in part["settings"].items()}
    for row in rows(folder / f"{number}.timing.csv"):
        if row["metric"] == "seconds" and row["stop"] == "last":
            seeds.setdefault(row["setting"], set()).add(row["seed"])
            found.setdefault(row["setting"], []).append((row["method"], float(row["value"])))
    total = {}
    for setting, runs in found.items():
        if setting in settings and made_of.get(setting) == settings_hash(settings[setting]):
            training = [seconds for method, seconds in runs if method == "Retrain"]
            total[setting] = sum(seconds for _, seconds in runs) / len(seeds[setting]) + mean(training or [0])
    return total


def taken(settings, timing, speeds):
    """`(seconds, from what)` of a setting at one seed. speeds: what was measured here so far, by kind; None where
    nothing is to be measured."""
    if timing is not None:
        return timing, "committed"
    if speeds is None:
        return None, ""
    try:
        return measured_or_counted(settings, speeds)
    except Exception:       # own parts, data that is not here: an estimate must not stop a run
        return None, ""


def measured_or_counted(settings, speeds):
    """`(seconds, from what)` by the first steps of a net of the same kind; on a CPU of a large one by its FLOPs."""
    from .estimate import like, measured, seconds       # torch
    small = like(settings)
    flops = step_flops(small)
    kind = str(sorted(small.items(), key=str))
    if kind not in speeds and flops > LARGE_STEP and not on_gpu():
        rate = max((known / speed.step for speed, known in speeds.values() if speed), default=CORE)
        speeds[kind] = None, flops / rate
    elif kind not in speeds:
        print(f"trying first steps of {complete(settings)['model']} on {complete(settings)['dataset']}", file=sys.stderr, flush=True)
        speeds[kind] = measured(settings), flops
    speed, known = speeds[kind]
    if speed is None:
        from .estimate import work
        return work(settings).steps * known, "counted"
    return seconds(settings, speed), "measured"


def step_flops(small):
    """FLOPs of one training step of what `estimate.like` gives."""
    from lib.fl.task import sample_flops
    s = complete(small)
    return sample_flops(s, s["channels"], 10, s["input_size"] or s["size"])[1] * s["batch_size"]


def on_gpu():
    import torch
    return torch.cuda.is_available()


# ---------------------------------------------------------------- gigabytes

WIDTH = {"float64": 8, "float32": 4, "float16": 2}


def disk_gb(settings, exact=True):
    """Gigabytes that a setting leaves in the store at one seed: its training, with the history that it keeps, and the
    first and the last state of every run. exact: whether the net is built to count its numbers, which imports torch."""
    s = complete(settings)
    numbers = numbers_of(s) if exact else state_numbers(s)
    state = numbers * WIDTH.get(s["dtype"], 4)
    runs = 2 * (len(s["methods"]) + len(s["ablations"]))
    kept = {"none": 0, "last": len(s["targets"]), "targets": len(s["targets"]), "all": s["clients"]}[s["history"]]
    rounds = 1 if s["history"] == "last" else s["rounds"]
    history = rounds * (kept * numbers * WIDTH[s["history_dtype"]] + (s["history"] == "all") * state)
    return ((1 + runs) * state + history) / 1e9


def numbers_of(s):
    """Numbers in a state of a setting's net, counted on the meta device; roughly where that is impossible."""
    channels, size, classes = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    try:
        import torch

        from lib.fl.models import build
        with torch.device("meta"):
            net = build(s, s["channels"] or channels, classes, s["input_size"] or s["size"] or size)
        return sum(each.numel() for each in net.state_dict().values())
    except Exception:       # as above
        return state_numbers(s)


# ---------------------------------------------------------------- in words

def listing(steps, at_a_time):
    """The plan as a table, a line a notebook, and a last line for all of it."""
    lines = [f"{'notebook':<28} {'jobs':>5} {'time':>12} {'disk':>9} {'memory':>9}  from"]
    for number in dict.fromkeys(each.number for each in steps):
        part = [each for each in steps if each.number == number]
        lines.append(line(part[-1].name, part))
    lines.append(line(f"all, {at_a_time} at a time", steps, at_a_time))
    return "\n".join(lines)


def line(name, steps, at_a_time=1):
    seconds = [each.seconds for each in steps]
    time = "?" if None in seconds else duration(sum(seconds) / at_a_time)
    known = ", ".join(sorted({each.known for each in steps if each.known}))
    return (f"{name:<28} {len(steps):>5} {time:>12} {sum(each.disk_gb for each in steps):>6.1f} GB "
            f"{max(each.memory_gb for each in steps):>6.1f} GB  {known}").rstrip()


def whole(text):
    """A number of jobs: a whole number above 0."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.plan", description=__doc__.splitlines()[0])
    p.add_argument("--profile", default="quick", help="a file in params/, or the path of one (default: quick)")
    p.add_argument("--only", help="as 02 or 02.cifar10_cnn,05")
    p.add_argument("-j", type=whole, default=1, help="how many jobs at a time (default: 1)")
    p.add_argument("--save", help="write the plan to this file instead")
    a = p.parse_args(argv)
    try:
        profile = load(a.profile)
        steps = plan(profile, a.only, measure=False)
        if not a.save or not all(each.done for each in steps):
            steps = plan(profile, a.only)
    except Bad as error:
        print(error, file=sys.stderr)
        return 2
    if a.save:
        told = {"at_a_time": a.j, "checkpoints": checkpoints(profile["profile"]), "steps": [each._asdict() for each in steps]}
        write(a.save, json.dumps(told) + "\n")
    else:
        print(listing(steps, a.j))
    return 0


if __name__ == "__main__":
    sys.exit(main())
