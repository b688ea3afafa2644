"""The README, whose numbers are written from committed rows, and the pages under docs/ that say more of them.

A part of the README between the marks `<!-- name -->` and `<!-- /name -->` is made here; the rest is written by hand.
"""
import json
import re

from lib.errors import Bad
from lib.files import ROOT
from lib.profiles import load, seeds_of

from .facts import NUMBERED, title

TABLES = {"paper": "At the paper's own scale", "long": "The paper's data and net, a tenth of its rounds", "reduced": "In the reduced profile"}
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
        found[path.name[:2]] = NUMBERED.sub("", heading), path.name
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

    from .plan import CORE
    said = (f"Hours: the committed times; of what has none, its FLOPs at {CORE / GIGA:.0f} GFLOP a second. GPU: shared. "
            "Disk: stored models and updates.")
    return grid_of(["profile", "data", "for", "core-hours", "disk"], [profile_line(name) for name in PROFILES]) + "\n\n" + said


def profile_line(name):
    """One profile, its hours and its disk over all notebooks and seeds."""
    from .plan import disk_gb
    profile = load(name)
    seconds = disk = 0.0
    for number, settings in profile["notebooks"].items():
        seeds = len(seeds_of(profile, number))
        seconds += seeds * sum(seconds_of(name, number, settings))
        disk += seeds * sum(disk_gb(s) for s in settings.values())
    hours = rounded(seconds / 3600) + (" (GPU)" if devices(name) == {"cuda"} else "")
    return [f"`{name}`", *PROFILES[name], hours, f"{rounded(disk)} GB"]


def devices(profile):
    """On what the committed rows of a profile were computed."""
    from lib.report.provenance import parts_of
    tables = (ROOT / "results" / profile).glob("[0-9][0-9].meta.json")
    return {part["device"] for path in tables for part in parts_of(json.loads(path.read_text(encoding="utf-8")))}


def seconds_of(name, number, settings):
    """The seconds of each setting at one seed, committed or counted."""
    from .cost import estimate_flops
    from .plan import CORE, committed
    known = committed(name, number, settings)
    for setting, s in settings.items():
        yield known[setting] if known.get(setting) else estimate_flops(s) / CORE if s.get("methods") else 0.0


def rounded(value):
    """Two digits: `0.31`, `8.2`, `53`, `1,100,000`."""
    shown = float(f"{value:.2g}")
    return f"{shown:,.0f}" if shown >= 10 else f"{shown:g}"
