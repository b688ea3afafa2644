"""What a run has left of each notebook: its state, its files, the verdicts on its claims, its time, where it comes from."""
import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lib.files import runs_root

from .jobs import notebook

NUMBERED = re.compile(r"^\d\d · ")


class Facts(NamedTuple):
    """One notebook in a profile's run; files are paths, and empty where there is none."""
    number: str
    stem: str
    title: str              # Markdown, without the number
    about: str              # its first sentence, Markdown
    state: str              # done, failed, not run
    shown: Path | None      # the file that shows the state
    claims: list            # of dicts, as rows of a claims table
    seconds: float | None   # of computing, however often it was resumed
    tables: list
    figures: list
    meta: dict              # of its results, see lib/report/provenance.py

    @property
    def verdicts(self):
        """`{verdict: how many claims}`."""
        return Counter(claim.get("verdict", "") for claim in self.claims)

    @property
    def drawings(self):
        """The names, without an ending, of the figures that are there as PDF, too."""
        return {file.stem for file in self.figures if file.with_suffix(".pdf").exists()}

    @property
    def page(self):
        """The name of its page, without a folder; None where there is none."""
        return f"{self.shown.stem}.html" if self.shown and self.shown.suffix == ".ipynb" else None


def facts(profile, number):
    """The `Facts` of a notebook in the run of a profile (its name)."""
    root, source = runs_root() / profile, notebook(number)
    nb = json.loads(source.read_text(encoding="utf-8"))
    word, shown = state(profile, number)
    results = root / "results"
    return Facts(number, source.stem, NUMBERED.sub("", title(nb)), first_sentence(nb), word, shown,
                 claims=rows(results / f"{number}.claims.csv"), seconds=seconds(results / f"{number}.timing.csv"),
                 tables=sorted(results.glob(f"{number}.*csv")),
                 figures=sorted((root / "figures").glob(f"{number}_*.png")), meta=meta(results / f"{number}.meta.json"))


def state(profile, number):
    """('done' | 'failed' | 'not run' | 'no notebook yet', the file that shows it) of a notebook in a profile's run."""
    root, source = runs_root() / profile, notebook(number)
    if source is None:
        return "no notebook yet", None
    for word, found in (("failed", [root / "notebooks" / f"{source.stem}.failed.ipynb"]),
                        ("failed", sorted((root / "jobs").glob(f"{number}.*.failed"))),
                        ("done", [root / "notebooks" / source.name])):
        for path in found:
            if path.exists():
                return word, path
    return "not run", None


def failure(path):
    """The error of a failed notebook or job, in a few lines."""
    if path.suffix == ".failed":
        return f"{path.stem}: {path.read_text(encoding='utf-8')}"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for o in cell.get("outputs", []):
            if o["output_type"] == "error":
                return f"{o['ename']}: " + "\n".join(o["evalue"].splitlines()[:3])
    return "the kernel stopped"


# ---------------------------------------------------------------- what a notebook says

def title(nb):
    """The first heading of a notebook (of nbformat or of plain JSON)."""
    for cell in nb["cells"]:
        found = re.search(r"^# (.*)$", "".join(cell["source"]), re.M) if cell["cell_type"] == "markdown" else None
        if found:
            return found[1].strip()
    return "Notebook"


def first_sentence(nb):
    """The first sentence below the title."""
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown":
            lines = [s for s in "".join(cell["source"]).split("\n\n") if s.strip() and not s.lstrip().startswith("#")]
            if lines:
                said = re.sub(r"\A\*\*[^*]+\*\*\s", "", " ".join(lines[0].split()))       # without a word in front
                return re.split(r"(?<=[.!?])\s", said)[0]
    return ""


# ---------------------------------------------------------------- its files

def rows(path):
    """The rows of a CSV file as dicts; none where it is missing or is no table."""
    try:
        with open(path, encoding="utf-8", newline="") as f:
            return list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def seconds(path):
    """Seconds of computing that a `.timing.csv` tells of, of each run at its last stop; None where it tells nothing."""
    runs = {}
    for row in rows(path):
        if row.get("metric") in ("seconds", "time") and row["value"] != "nan":
            run = tuple(row.get(column) for column in ("setting", "seed", "method", "variant"))
            runs[run] = max(runs.get(run, 0.0), float(row["value"]))
    return sum(runs.values()) or None


def meta(path):
    """What a `.meta.json` says; nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def duration(seconds):
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours} h"
