"""Fill the store without a kernel: run the `parameters` and `compute` cells of notebooks as plain Python.

python -m workflow.run --profile P [--only 02,07.mnist] [--seed S ...] [--list | --dry-run | --flops]
python -m workflow.run --clean [--yes]
"""
import argparse
import sys

from . import ending

if __name__ == "__main__":
    ending.in_one_line()        # before the imports that take their time

from lib.errors import Bad
from lib.files import runs_root, sweep
from lib.profiles import load

from .clean import clean
from .cost import listing
from .jobs import brief, claim_gpu, job, jobs, notebook


def whole(text):
    """A seed: a whole number >= 0."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def arguments(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.run", description="Fill the store without a kernel.")
    p.add_argument("--profile", help="a file in params/, or the path of one (default: quick)")
    p.add_argument("--only", help="as 02 or 02.cifar10_cnn,05")
    p.add_argument("--seed", type=whole, action="append", help="one of the seeds, or another; may be repeated")
    p.add_argument("--list", action="store_true", help="print the jobs, one a line")
    p.add_argument("--dry-run", action="store_true", help="print a table of the settings")
    p.add_argument("--flops", action="store_true", help="the table with estimated FLOPs (imports torch)")
    p.add_argument("--clean", action="store_true", help="list what nobody needs in the stores, and ask to delete it")
    p.add_argument("--yes", action="store_true", help="with --clean: do not ask")
    return p.parse_args(argv)


def asked_for(profile, a):
    """The jobs that the command line names and that have a notebook; a notebook named by hand must be there."""
    todo = jobs(profile, a.only, a.seed)
    for number, _, _ in todo:
        if a.only and notebook(number) is None and not (a.dry_run or a.flops):
            raise Bad(f"there is no notebook notebooks/{number}_*.ipynb yet")
    return [j for j in todo if notebook(j[0])]


def run(profile, todo):
    """Do the jobs one after the other; the exit status, 1 if any failed."""
    sweep(runs_root() / profile["profile"])
    gpu = claim_gpu()       # held until the end
    failed = 0
    for number, setting, seed in todo:
        name = f"{number}.{setting} seed {seed}"
        try:
            say(f"{name}: done in {job(profile, number, setting, seed):.0f} s")
        except Exception as e:
            say(f"{name} FAILED: {brief(e, notebook(number))}")
            failed += 1
    del gpu
    return 1 if failed else 0


def say(text):
    print(text, file=sys.stderr, flush=True)


def main(argv=None):
    a = arguments(argv)
    try:
        if a.clean:
            return clean(a.profile, a.yes)
        profile = load(a.profile or "quick")
        todo = asked_for(profile, a)
        if a.list:
            print("\n".join(f"{n}.{s}.s{seed}" for n, s, seed in todo))
        elif a.dry_run or a.flops:
            print(listing(profile, a.only, a.seed, a.flops))
        else:
            return run(profile, todo)
    except Bad as e:
        say(e)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
