"""Fill the store without a kernel: run the `parameters` and `compute` cells of notebooks as plain Python.

python -m workflow.run --profile P [--only 02,07.mnist] [--seed S ...] [--list | --dry-run | --flops]
"""
import argparse
import sys

from lib.errors import Bad
from lib.profiles import load

from .cost import listing
from .jobs import brief, claim_gpu, job, jobs, notebook


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.run", description="Fill the store without a kernel.")
    p.add_argument("--profile", default="quick", help="a file in params/, or the path of one elsewhere")
    p.add_argument("--only", help="as 02 or 02.cifar10_cnn,05")
    p.add_argument("--seed", type=int, action="append", help="one of the seeds, or another; may be repeated")
    p.add_argument("--list", action="store_true", help="print the jobs, one a line")
    p.add_argument("--dry-run", action="store_true", help="print a table of the settings")
    p.add_argument("--flops", action="store_true", help="the table with estimated FLOPs (imports torch)")
    a = p.parse_args(argv)
    try:
        profile = load(a.profile)
        todo = jobs(profile, a.only, a.seed)
        for number in {n: 0 for n, _, _ in todo} if a.only and not (a.dry_run or a.flops) else ():
            if notebook(number) is None:
                raise Bad(f"there is no notebook notebooks/{number}_*.ipynb yet")
        todo = [j for j in todo if notebook(j[0])]
        if a.list:
            print("\n".join(f"{n}.{s}.s{seed}" for n, s, seed in todo))
            return 0
        if a.dry_run or a.flops:
            print(listing(profile, a.only, a.seed, a.flops))
            return 0
    except Bad as e:
        print(e, file=sys.stderr)
        return 2
    gpu, failed = claim_gpu(), 0
    for number, setting, seed in todo:
        name = f"{number}.{setting} seed {seed}"
        try:
            print(f"{name}: done in {job(profile, number, setting, seed):.0f} s", file=sys.stderr, flush=True)
        except Exception as e:
            print(f"{name} FAILED: {brief(e, notebook(number))}", file=sys.stderr, flush=True)
            failed += 1
    del gpu
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
