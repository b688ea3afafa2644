"""Where a table comes from: the commit, the settings and the data it was made of, on what, and by which command."""
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from ..files import ROOT, folder
from ..runs.store import MADE_WITH
from ..settings import DEFAULTS, complete

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pandas")
HOW_FAST = ("device", "threads", "cuda_graphs", "history_limit_gb")     # settings that change no number
# Settings that came after tables had been kept: at their default all is as it was before there was such a key.
LATER = ("resplit", "split_seed", "after_rounds", "relearn_images", "relearn_rounds", "bits", "leavers", "in_turn",
         "request_rounds")


def provenance(profile, notebook, tasks=()):
    """What stands in `<notebook>.meta.json` beside a table, as a plain dict; `tasks`: those that it was made of."""
    found = {"profile": profile, "notebook": notebook, "command": command(profile, notebook), "commit": commit(),
             "date": datetime.date.today().isoformat(), "machine": machine(), "python": platform.python_version(),
             **versions()}
    if tasks:
        found |= {**made_with(tasks), "threads": tasks[0].settings["threads"],
                  "dtype": sorted({task.settings["dtype"] for task in tasks}),
                  "settings": {task.name: settings_hash(task.settings) for task in tasks},
                  "data": data_hashes(tasks)}
    return found


def made_with(tasks):
    """`device` and `torch` of the results that this process was given, which may come from other machines, in words."""
    known = {key: {found[key] for found in MADE_WITH if key in found} for key in ("device", "torch")}
    known["device"] = known["device"] or {str(tasks[0].device)}
    return {key: ", ".join(sorted(found)) for key, found in known.items() if found}


def parts_of(about, settings=()):
    """What a meta.json says of each part of its table, a list of dicts of which `settings` are the names: what ran last,
    and what stood there before and was kept (`workflow/parts.py`). settings: those of the table, for older files."""
    earlier = about.get("kept", [])
    others = {name for part in earlier for name in part["settings"]}
    last = {name: None for name in settings if name not in others} | about.get("settings", {})
    return [{**{k: v for k, v in about.items() if k != "kept"}, "settings": last}, *earlier]


def narrowed(part, settings):
    """A part of a table, of these settings alone."""
    return {**part, "settings": {name: found for name, found in part["settings"].items() if name in settings}}


def in_words(profile, notebook, settings=()):
    """`From ./run_all.sh --profile reduced --only 02, commit 31295babd283`, of a table in a run or a committed one.

    settings: those of the table, all where none are named; made at several commits, they have several.
    """
    about = {}
    for where in (folder(profile), ROOT / "results" / profile):
        path = where / f"{notebook}.meta.json"
        if path.exists():
            about = json.loads(path.read_text(encoding="utf-8"))
            break
    made_at = commits_of(about, settings)
    made_at = f", commit {', '.join(made_at)}" if made_at else ""
    return f"From {command(profile, notebook)}{made_at}"


def commits_of(about, settings):
    """The commits at which the settings of a table were computed, each once, what ran last first."""
    parts = [part for part in parts_of(about) if not settings or set(part["settings"]) & set(settings)]
    return list(dict.fromkeys(part["commit"] for part in parts if part.get("commit")))


def command(profile, notebook):
    """The command that makes a table."""
    return f"./run_all.sh --profile {profile} --only {notebook}"


def commit():
    """The commit of this clone, with `+` where its code has changed since; None where it is no clone."""
    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", "lib", "notebooks", "params")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head[:12] + "+" * bool(changed)


def git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, text=True, capture_output=True)
    return done.stdout.strip()


def machine():
    """The processor and how many cores; no name of a machine."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def versions():
    """`{package: version}` of what the numbers come from; None where it is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def settings_hash(settings):
    """A short hash of all settings of a task, defaults filled in, but for those that change no number."""
    whole = {key: value for key, value in complete(settings).items() if key not in HOW_FAST and not unheard_of(key, value)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:16]


def unheard_of(key, value):
    """Whether a setting is what it was when there was no such key."""
    return key in LATER and value == DEFAULTS[key]


def data_hashes(tasks):
    """`{data set: checksum of its images and labels}`, of the first task that has it."""
    first = {}
    for task in tasks:
        first.setdefault(task.settings["dataset"], task)
    return {name: task.fingerprint()["data"][:16] for name, task in first.items()}


def outdated(about, names, settings):
    """Which of the settings in a table are not what the profile says today: `about`, its meta.json (a dict); `names`, the
    settings in it; `settings`, those of the profile's notebook."""
    made_of = {name: found for part in parts_of(about) for name, found in part["settings"].items()}
    return [name for name in names if name not in settings or made_of.get(name) != settings_hash(settings[name])]
