"""A profile in the minutes of a lent GPU: what fits, done with checkpoints, carried home in small files.

python -m workflow.gpu plan --minutes 25 [--gpus 1] [--jobs-per-gpu 2] [--profile paper] [--only 07,09.mnist_union]
python -m workflow.gpu run  --minutes 25 … --to FOLDER
python -m workflow.gpu pack --to FOLDER [--profile paper]
python -m workflow.gpu merge FOLDER [--profile paper]

`plan` measures a step and an evaluated image of every kind of setting here (a minute or two on a GPU) and lists what
fits, first seed first. `run` does that, several jobs a card, stops in time, and packs the store into files of at most
15 MB; what was not done has left its checkpoint. `pack` is the last part of `run`, for when that was cut off. `merge`, where the repository lives, takes them into its store;
`./run_all.sh --profile paper` then goes on from there. Without a GPU all of it runs on the CPU, for a rehearsal.
"""
import argparse
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from . import ending

if __name__ == "__main__":
    ending.in_one_line()

from lib.errors import Bad
from lib.files import ROOT, runs_root
from lib.profiles import load
from lib.settings import complete

from .jobs import jobs, notebook
from .portable import merge, pack

GRACE = 20          # seconds until a job that was told to end is killed


HELP = {"plan": "what fits", "run": "do what fits, and pack it", "pack": "pack what is there",
        "merge": "take what was packed into the store"}


class Planned(NamedTuple):
    """A job, its estimated seconds on a card of its own, and whether it fits in the time."""
    number: str
    setting: str
    seed: int
    seconds: float
    fits: bool

    @property
    def name(self):
        return f"{self.number}.{self.setting}.s{self.seed}"


def arguments(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.gpu", description="A profile in the minutes of a lent GPU.")
    commands = p.add_subparsers(dest="command", required=True)
    for name, help in HELP.items():
        c = commands.add_parser(name, help=help)
        c.add_argument("--profile", default="paper", help="a file in params/, or the path of one (default: paper)")
        if name in ("plan", "run"):
            c.add_argument("--minutes", type=positive, required=True, help="of device time, all in all")
            c.add_argument("--gpus", type=whole, help="how many cards (default: those there are; a CPU counts as one)")
            c.add_argument("--jobs-per-gpu", type=whole, default=2, help="at a time (default: 2)")
            c.add_argument("--only", help="as 07 or 07.cifar10_random,09")
            c.add_argument("--seed", type=int, action="append", help="one of the seeds; may be repeated")
        if name in ("run", "pack"):
            c.add_argument("--to", required=True, help="folder for the packed results")
            c.add_argument("--without-states", action="store_true", help="pack results only: no trainings, curvatures or checkpoints")
        if name == "merge":
            c.add_argument("folder", help="what was packed")
    return p.parse_args(argv)


def positive(text):
    if not float(text) > 0:
        raise ValueError(text)
    return float(text)


def whole(text):
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


# ---------------------------------------------------------------- the plan

def plan(profile, a):
    """`[Planned]` in the order in which they would run; jobs that are done already are left out.

    That several jobs share a card is counted as no gain: each is taken to be as many times slower.
    """
    todo = [job for job in jobs(profile, a.only, a.seed) if notebook(job[0]) and not done(profile, *job)]
    todo.sort(key=lambda job: job[2])       # stable: all settings at the first seed, then at the next
    speeds = {}
    left = working_seconds(a) * cards(a)
    planned = []
    for number, setting, seed in todo:
        needed = estimated(profile["notebooks"][number][setting], speeds)
        planned.append(Planned(number, setting, seed, needed, needed <= left))
        if needed <= left:
            left -= needed
    return planned


def working_seconds(a):
    """The time but for a tenth, at most a minute, in which checkpoints are written and packed."""
    return a.minutes * 60 - min(60, a.minutes * 6)


def done(profile, number, setting, seed):
    return (runs_root() / profile["profile"] / "jobs" / f"{number}.{setting}.s{seed}.done").exists()


def cards(a):
    """How many cards there are, or are said to be."""
    import torch
    return a.gpus or max(1, torch.cuda.device_count())


def estimated(settings, speeds):
    """Seconds of a setting at one seed; what was measured is kept in `speeds` for settings of the same kind."""
    from .estimate import like, measured, seconds       # torch
    kind = str(sorted(like(settings).items(), key=str))
    if kind not in speeds:
        s = complete(settings)
        say(f"measuring {s['dataset']}, {s['model']}, batches of {s['batch_size']}")
        speeds[kind] = measured(settings)
    return seconds(settings, speeds[kind])


def table(planned, a):
    """The plan as text, one job a line."""
    lines = [f"{'job':40} {'seconds':>9}  in {a.minutes:g} minutes on {cards(a)} card(s)"]
    for job in planned:
        lines.append(f"{job.name:40} {job.seconds:9.0f}  {'yes' if job.fits else 'no'}")
    fitting = sum(job.fits for job in planned)
    lines.append(f"{fitting} of {len(planned)} jobs fit; curvature and attacks are not in these seconds")
    return "\n".join(lines)


# ---------------------------------------------------------------- the run

def run(profile, a, begin):
    """Do the jobs of the plan until the time is up, and pack the store; the exit status, 1 if any failed.

    Jobs that did not fit follow those that did: a checkpoint of them is worth taking home.
    """
    planned = plan(profile, a)
    say(table(planned, a))
    waiting = sorted(planned, key=lambda job: not job.fits)
    end = begin + working_seconds(a)
    running, failed = {}, []
    try:
        while (waiting or running) and time.monotonic() < end:
            while waiting and len(running) < cards(a) * a.jobs_per_gpu:
                job = waiting.pop(0)
                running[job.name] = started(profile, job, a)
            time.sleep(0.2)
            failed += ended(running)
    finally:
        stop(running)
    packed(profile, a)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def packed(profile, a):
    """Pack the profile's store, and say how to take it into another."""
    entries, size = pack(store_of(profile), a.to, not a.without_states)
    say(f"{entries} entries, {size / 1e6:.1f} MB, in {a.to}; "
        f"merge them by: python -m workflow.gpu merge {a.to} --profile {profile['asked']}")


def store_of(profile):
    return runs_root() / profile["profile"] / "store"


def started(profile, job, a):
    """A process of its own for a job; several share a card by `lib`'s own locks."""
    import torch
    env = dict(os.environ, FU_JOBS_PER_GPU=str(a.jobs_per_gpu), FU_QUIET_END="1", OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    if torch.cuda.is_available():
        env["FU_GPUS"] = str(cards(a))
    command = [sys.executable, "-m", "workflow.run", "--profile", str(profile["asked"]),
               "--only", f"{job.number}.{job.setting}", "--seed", str(job.seed)]
    return subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True)


def ended(running):
    """Names of those that failed since the last look; whoever has ended is taken out."""
    failed = []
    for name, process in list(running.items()):
        if process.poll() is None:
            continue
        del running[name]
        if process.returncode:
            failed.append(name)
    return failed


def stop(running):
    """End what still runs: asked first, so that it leaves nothing half-written, then killed."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + GRACE
    for process in running.values():
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(text):
    print(text, file=sys.stderr, flush=True)


def main(argv=None):
    begin = time.monotonic()
    a = arguments(argv)
    try:
        profile = load(a.profile)
        if a.command == "plan":
            print(table(plan(profile, a), a))
        elif a.command == "pack":
            packed(profile, a)
        elif a.command == "merge":
            new, there = merge(a.folder, store_of(profile))
            say(f"{new} entries taken into {store_of(profile)}, {there} were there already")
        else:
            return run(profile, a, begin)
        return 0
    except Bad as e:
        say(e)
        return 2


if __name__ == "__main__":
    sys.exit(main())
