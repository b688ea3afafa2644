"""What is said before and during a run: estimates, job k of n, time left, what is resumed."""
import json

import pytest
import toy

from lib.profiles import load
from lib.report.provenance import settings_hash
from workflow import plan, watch

SETTING = {"dataset": "digits", "model": "small_cnn", "lr": 0.1, "rounds": 2, "unlearn_rounds": 2, "methods": {"Retrain": {}, "FT": {}}}


@pytest.fixture
def here(monkeypatch, tmp_path):
    """No committed results, and no run."""
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    monkeypatch.setenv("FU_RUNS", str(tmp_path / "runs"))
    return tmp_path


def timings(where, settings, hashed=None):
    folder = where / "results/more"
    folder.mkdir(parents=True)
    lines = ["setting,method,seed,stop,metric,value"]
    lines += [f"{s},{method},{seed},last,seconds,{value}" for s in settings for method, value in (("Retrain", 10), ("FT", 30)) for seed in (0, 1)]
    (folder / "02.timing.csv").write_text("\n".join(lines) + "\n")
    hashes = {name: settings_hash(s if hashed is None else hashed) for name, s in settings.items()}
    (folder / "02.meta.json").write_text(json.dumps({"settings": hashes}))


def test_committed_timings_count_the_training_as_well(here):
    timings(here, {"a": SETTING, "b": SETTING})
    assert plan.committed("more", "02", {"a": SETTING}) == {"a": 10 + 30 + 10}


def test_timings_of_other_settings_do_not_count(here):
    timings(here, {"a": SETTING}, hashed={**SETTING, "rounds": 3})
    assert plan.committed("more", "02", {"a": SETTING}) == {}


def test_timings_of_a_part_that_was_published_before_count(here):
    timings(here, {"a": SETTING, "b": SETTING})
    path = here / "results/more/02.meta.json"
    made = json.loads(path.read_text())["settings"]
    path.write_text(json.dumps({"settings": {"b": made["b"]}, "kept": [{"settings": {"a": made["a"]}}]}))
    assert plan.committed("more", "02", {"a": SETTING, "b": SETTING}) == {"a": 50, "b": 50}
    with (here / "results/more/02.timing.csv").open("a") as f:      # a has one seed more than b
        f.write("a,Retrain,2,last,seconds,10\na,FT,2,last,seconds,30\n")
    assert plan.committed("more", "02", {"a": SETTING, "b": SETTING}) == {"a": 50, "b": 50}


def test_first_steps_stand_in_for_timings(here):
    speeds = {}
    seconds, known = plan.taken(SETTING, None, speeds)
    assert known == "measured" and 0 < seconds < 600
    more, _ = plan.taken({**SETTING, "rounds": 20, "unlearn_rounds": 20}, None, speeds)
    assert len(speeds) == 1
    assert more > 3 * seconds
    assert plan.taken(SETTING, None, None) == (None, "")
    assert plan.taken({**SETTING, "model": "a net of one's own"}, None, {}) == (None, "")


def test_a_large_net_is_counted_and_not_tried(monkeypatch):
    monkeypatch.setattr(plan, "on_gpu", lambda: False)
    large = {**SETTING, "dataset": "cifar10", "model": "resnet18_3x3", "batch_size": 64}
    seconds, known = plan.taken(large, None, {})
    assert known == "counted" and seconds > 3600


def test_disk_is_that_of_histories_and_states():
    numbers = plan.numbers_of(plan.complete(SETTING))
    assert plan.disk_gb(SETTING) == pytest.approx((1 + 2 * 2) * numbers * 4 / 1e9)
    kept = {**SETTING, "clients": 5, "history": "all", "history_dtype": "float16", "dtype": "float64"}
    assert plan.disk_gb(kept) == pytest.approx(((1 + 2 * 2) * 8 + 2 * (5 * 2 + 8)) * numbers / 1e9)


def test_jobs_are_those_that_snakemake_starts(here):
    """One of a notebook whose report does it all, else one a setting and seed and the report."""
    steps = plan.plan(load("quick"), "02,03", measure=False)
    assert [each.name for each in steps] == ["02_client_unlearning", "03_scenarios"]
    steps = plan.plan(load("reduced"), "02.cifar10_small_cnn", measure=False)
    assert len(steps) == 11 and steps[-1].name == "02_client_unlearning" and steps[0].name == "02.cifar10_small_cnn seed 0"
    mark = here / "runs/reduced/jobs/02.cifar10_small_cnn.s0.done"
    mark.parent.mkdir(parents=True)
    mark.write_text("")
    assert [each.done for each in plan.plan(load("reduced"), "02.cifar10_small_cnn", measure=False)] == [True] + 10 * [False]


def test_the_table_adds_up():
    steps = [plan.Step("02.a seed 0", "02", 60.0, 1.0, 2.0, "committed", False), plan.Step("02_x", "02", 60.0, 0.5, 3.0, "measured", False)]
    last = plan.listing(steps, 2).splitlines()[-1].split()
    assert last == ["all,", "2", "at", "a", "time", "2", "60", "s", "1.5", "GB", "3.0", "GB", "committed,", "measured"]


# ---------------------------------------------------------------- while it runs

class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def heard(todo, done=(), at_a_time=1, checkpoints=0):
    """A Watch over jobs {name: seconds}, which has heard how many there are."""
    steps = [{"name": name, "seconds": seconds, "disk_gb": 1.0, "memory_gb": 2.0, "done": name in done} for name, seconds in todo.items()]
    clock = Clock()
    w = watch.Watch({"at_a_time": at_a_time, "checkpoints": checkpoints, "steps": steps}, clock)
    return w, clock, w.hear(f"total          {len(todo) - len(done) + 1}")


def test_the_first_line_says_what_is_resumed_and_what_it_takes():
    jobs = {"02.a seed 0": 600, "02.a seed 1": 600, "02_x": 600}
    _, _, said = heard(jobs, done=["02.a seed 0"], at_a_time=2, checkpoints=1)
    assert said == ("2 jobs to do; 1 done before; 1 run within them go on from a checkpoint; about 10 min with 2 at a time; "
                    "up to 2.0 GB of disk and 2.0 GB of memory a job")
    assert "about" not in heard({**jobs, "03_y": None})[2]


def test_the_time_left_follows_the_machine():
    """Twice as slow as estimated until now: twice as slow from here on."""
    w, clock, _ = heard({"02.a seed 0": 100, "02.a seed 1": 100, "02_x": 400})
    clock.now = 200
    assert w.hear("02.a seed 0: done in 200 s") == "02.a seed 0: done in 200 s (job 1 of 3, about 17 min left)"
    clock.now = 300
    assert w.hear("02.a seed 1 FAILED: Bad").endswith(" (job 2 of 3, about 10 min left)")
    assert w.hear("02_x: done in 300 s") == "02_x: done in 300 s (job 3 of 3)"


def test_without_an_estimate_jobs_count_alike():
    w, clock, _ = heard({"02.a seed 0": None, "02.a seed 1": 5, "02_x": 400})
    clock.now = 30
    assert w.hear("02.a seed 1: done in 30 s").endswith("(job 1 of 3, about 60 s left)")


def test_jobs_elsewhere_are_counted_by_snakemake():
    w, clock, _ = heard({"02.a seed 0": 1, "02.a seed 1": 1, "02_x": 1})
    clock.now = 30
    assert w.hear("1 of 4 steps (25%) done") == "job 1 of 3, about 60 s left"
    assert w.hear("02.a seed 1: done in 1 s").startswith("02.a seed 1: done in 1 s (job 2 of 3")
    assert w.hear("2 of 4 steps (50%) done") is None and w.hear("4 of 4 steps (100%) done") is None


@pytest.mark.parametrize("line", ["", "Building DAG of jobs...", "Job stats:", "job        count", "-------  -------", "setting        6",
                                  "Select jobs to execute...", "Finished jobid: 7 (Rule: setting)", "[Thu Nov 26 03:18:34 2026]"])
def test_noise_is_not_heard(line):
    assert heard({"02_x": 1})[0].hear(line) is None


@pytest.mark.parametrize("line", ["01_toy: started", "01_toy: rounds 3/20, forget accuracy 71.2 %", "Error in rule setting:"])
def test_everything_else_is(line):
    assert heard({"02_x": 1})[0].hear(line) == line


def test_a_run_says_how_far_it_is(tmp_path):
    where = toy.clone(tmp_path)
    status, out = toy.call(where, "bash", "run_all.sh", "--profile", "more", "--only", "02.b", "-j", "1")
    assert status == 0 and "3 jobs to do; " in out and "(job 1 of 3, about" in out and "(job 3 of 3)" in out, out
    status, out = toy.call(where, "bash", "run_all.sh", "--profile", "more", "-j", "1")
    assert status == 0 and "2 done before" in out and "(rows in results/, figures in figures/ beside it)" in out, out
    status, out = toy.call(where, "bash", "run_all.sh", "--profile", "more")
    assert status == 0 and "to do" not in out and out.count("\n") == 2, out
