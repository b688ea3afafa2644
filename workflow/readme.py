"""The README, whose numbers are written from committed rows, and the pages under docs/ that say more of them.

A part of the README between the marks `<!-- name -->` and `<!-- /name -->` is made here; the rest is written by hand.
"""
import json
import re

from lib.errors import Bad
from lib.files import ROOT
from lib.profiles import load, seeds_of
from lib.settings import complete

from .page import title

TABLES = {"paper": "At the paper's own scale", "reduced": "In the reduced profile"}
TABLES_INTRO = """# The committed tables

Written by `python -m workflow.publish readme` from the CSV files under [results/](../results), which hold one row for each seed and metric; do not edit. Tables that a paper prints stand in [RESULTS.md](../RESULTS.md) beside it; the words are explained in the [README](../README.md#what-is-measured), and [the changes](../CHANGELOG.md) say which rows were corrected."""
PROFILES = {
    "quick": ("digits, 8 px", "reading, tests"),
    "reduced": ("CIFAR-10, Fashion-MNIST, MNIST, small", "conclusions, on CPUs"),
    "long": ("CIFAR-10, NoT's net, fewer rounds", "does the small scale mislead?"),
    "paper": ("the papers'", "the papers' tables; needs GPUs")}
GIGA = 1e9


def readme_text():
    """README.md with every part between its marks made anew."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, make in parts().items():
        text = replaced(text, name, make())
    return text


def parts():
    """`{name of a mark: function that gives the Markdown between}`."""
    from lib.report import choosing, front
    return {"answers": front.answers_text, "status": front.status_text,
            "notebooks": lambda: front.notebooks_text(titles()), "which": choosing.which_text,
            "profiles": profiles_text, "sure": front.sure_text}


def replaced(text, name, made):
    """A text with what stands between the marks of a name replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    found, count = re.subn(pattern, lambda marks: f"{marks[1]}{made}\n{marks[2]}", text, flags=re.S)
    if count != 1:
        raise Bad(f"README.md: the marks <!-- {name} --> and <!-- /{name} --> must stand there once, each on a line of its own")
    return found


def titles():
    """`{number: (title, file)}` of the notebooks."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        heading = title(json.loads(path.read_text(encoding="utf-8")))
        found[path.name[:2]] = heading.split(" · ", 1)[-1], path.name
    return found


def tables_text():
    """docs/tables.md: the tables of committed results."""
    from lib.report.tables import readme
    made = [f"## {head}\n\n{readme(name)}" for name, head in TABLES.items() if (ROOT / "results" / name).exists()]
    return "\n\n".join([TABLES_INTRO, *made]) + "\n"


def choosing_text():
    """docs/choosing.md: which method for which request."""
    from lib.report.choosing import page
    return page()


# ---------------------------------------------------------------- profiles

def profiles_text():
    """What each profile is for, and what it takes: core-hours and disk."""
    from lib.report.reproduced import grid_of
    rate = flops_a_second()
    lines = [profile_line(name, rate) for name in PROFILES]
    said = (f"Estimates. Hours: FLOPs at the {rate / GIGA:.0f} GFLOP a second of notebook 02's rows; of `quick` the committed "
            "times. Disk: stored models and updates.")
    return grid_of(["profile", "data", "for", "core-hours", "disk"], lines) + "\n\n" + said


def profile_line(name, rate):
    """One profile: the hours of its FLOPs at a rate, and its disk."""
    from .cost import estimate_flops
    profile = load(name)
    flops = disk = 0.0
    for number, settings in profile["notebooks"].items():
        seeds = len(seeds_of(profile, number))
        flops += seeds * sum(estimate_flops(s) for s in settings.values() if s.get("methods"))
        disk += seeds * sum(disk_bytes(s) for s in settings.values())
    hours = committed_hours(profile) if name == "quick" else flops / rate / 3600
    return [f"`{name}`", *PROFILES[name], rounded(hours), f"{rounded(disk / GIGA)} GB"]


def committed_hours(profile):
    """The hours of training and unlearning that a profile's committed rows took, where they say."""
    from lib.report.front import spent
    return sum(spent(profile["profile"], number) or 0.0 for number in profile["notebooks"]) / 3600


def flops_a_second():
    """At how many FLOPs a second the committed rows of notebook 02 in the profile reduced were made."""
    from lib.report.reproduced import committed
    from lib.report.stops import RUN
    rows, times = committed("reduced", "02"), committed("reduced", "02", timing=True)
    flops = rows[(rows["metric"] == "comp_flops") & (rows["stop"] == "last")].set_index(RUN)["value"]
    seconds = times[(times["metric"] == "seconds") & (times["stop"] == "last")].set_index(RUN)["value"]
    both = flops[flops > 0].index.intersection(seconds.index)
    return flops[both].sum() / seconds[both].sum()


def disk_bytes(settings):
    """Bytes that the store keeps of a setting at one seed, estimated: every update where there is a history, and the
    model of training and of each method."""
    s = complete(settings)
    state = numbers_of(s) * (8 if s["dtype"] == "float64" else 4)
    updates = s["rounds"] * s["clients"] if s["history"] == "all" else 0
    models = 2 + len(s["methods"]) + len(s["ablations"])
    return state * (updates + models)


def numbers_of(s):
    """How many numbers a state of a setting's net has; own data counts as CIFAR-10."""
    import torch

    from lib.fl import models

    from .cost import SHAPES
    channels, size, classes = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    with torch.device("meta"):
        net = models.build(s, s["channels"] or channels, classes, s["input_size"] or s["size"] or size)
    return sum(value.numel() for value in net.state_dict().values())


def rounded(value):
    """Two digits: `0.31`, `8.2`, `53`, `1,100,000`."""
    shown = float(f"{value:.2g}")
    return f"{shown:,.0f}" if shown >= 10 else f"{shown:g}"
