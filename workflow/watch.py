"""What the terminal hears of a run: Snakemake's lines without its noise, with job k of n and the time that is left.

snakemake … 2>&1 | python -m workflow.watch runs/<profile>/plan.json
"""
import json
import re
import sys
import time

NOISE = re.compile(
    r"Assuming unrestricted|Building DAG|Using shell:|Provided |Rules claiming|Select jobs|Execute \d+ jobs|Elapsed time|"
    r"RuleException|CalledProcessError|Command .set -euo|Exiting because|WorkflowError:|At least one job did not|"
    r"Complete log|Trying to restart|Nothing to be done|Job stats:|job +count$|-+  -+$|[a-z]+ +\d+$|"
    r"\d+ of \d+ steps|Finished jobid|\[[A-Z][a-z]{2} [A-Z][a-z]{2} .*\]$|$")
TOTAL = re.compile(r"total +(\d+)$")
COUNTED = re.compile(r"(\d+) of (\d+) steps")
ENDED = re.compile(r"(\d\d\.\w+ seed \d+|\d\d_\w+)(?:: done in (\d+) s$| FAILED: )")


class Watch:
    """How far a run is. plan: of `workflow.plan`, a dict; now(): seconds of any clock."""

    def __init__(self, plan, now=time.monotonic):
        self.steps = {each["name"]: each for each in plan.get("steps", [])}
        self.at_a_time = plan.get("at_a_time", 1)
        self.checkpoints = plan.get("checkpoints", 0)
        self.now, self.begun = now, now()
        self.total, self.ended = 0, []

    def hear(self, line):
        """What is said of a line of Snakemake's or of a job's; None where nothing is."""
        total, counted, ended = TOTAL.match(line), COUNTED.match(line), ENDED.match(line)
        if total:
            self.total = int(total[1]) - 1      # one of them is the rule that asks for all others
            return self.begin() if self.total else None
        if ended:
            self.ended.append(ended[1])
            return f"{line}{self.far()}"
        if counted and len(self.ended) < int(counted[1]) <= self.total:     # elsewhere, as on a cluster
            self.ended += [""] * (int(counted[1]) - len(self.ended))
            return f"{self.far().strip(' ()')}"
        return None if NOISE.match(line) else line

    def begin(self):
        """The first line: how many jobs, what is resumed, and what all of it is estimated to take."""
        todo = self.todo()
        words = [f"{self.total} job{'s' * (self.total != 1)} to do"]
        before = len(self.steps) - self.total
        if before > 0:
            words.append(f"{before} done before")
        if self.checkpoints:
            words.append(f"{self.checkpoints} run{'s' * (self.checkpoints != 1)} within them go on from a checkpoint")
        seconds = [each["seconds"] for each in todo]
        if seconds and None not in seconds:
            words.append(f"about {duration(sum(seconds) / self.at_a_time)} with {self.at_a_time} at a time")
        if todo:
            disk, memory = sum(each["disk_gb"] for each in todo), max(each["memory_gb"] for each in todo)
            words.append(f"up to {max(disk, 0.1):.1f} GB of disk and {memory:.1f} GB of memory a job")
        return "; ".join(words)

    def todo(self):
        """The steps that are to be done: those not marked as done, or all where what is marked is done again."""
        left = [each for each in self.steps.values() if not each["done"]]
        return left if len(left) >= self.total else list(self.steps.values())

    def far(self):
        """` (job 3 of 9, about 2 min left)`."""
        left = self.left()
        about = f", about {duration(left)} left" if left and len(self.ended) < self.total else ""
        return f" (job {len(self.ended)} of {self.total}{about})" if self.total else ""

    def left(self):
        """Seconds that are left: what is estimated, times how much longer than estimated the jobs took until now."""
        passed, done, to_go = self.now() - self.begun, len(self.ended), self.total - len(self.ended)
        seconds = {each["name"]: each["seconds"] for each in self.todo()}
        if None in seconds.values() or not set(self.ended) <= set(seconds):
            return passed * to_go / done
        behind = sum(seconds[name] for name in self.ended)
        return passed * (sum(seconds.values()) - behind) / max(behind, 1)


def duration(seconds):
    from .facts import duration as words     # here, since a run that does nothing needs none
    return words(seconds)


def main(argv=None):
    path = (argv or sys.argv[1:])[0]
    try:
        with open(path, encoding="utf-8") as f:
            plan = json.load(f)
    except (OSError, ValueError):
        plan = {}
    watch = Watch(plan)
    for line in sys.stdin:
        said = watch.hear(line.rstrip("\n"))
        if said is not None:
            try:
                print(said, flush=True)
            except OSError:     # nobody reads any more: the run goes on all the same
                sys.stdout = open("/dev/null", "w", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
