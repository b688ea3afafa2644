"""Running notebooks without a kernel."""
import json

import pytest
import toy

from lib.errors import Bad
from workflow import cost, jobs


@pytest.fixture
def clone(tmp_path):
    return toy.clone(tmp_path)


def test_only_the_tagged_cells_run_with_the_profiles_values(clone):
    toy.notebook(clone / "notebooks/02_toy.ipynb", "02", show="open('shown', 'w')",
                 compute="open('done', 'a').write(f'{profile} {seeds} {settings}\\n')")
    assert toy.python(clone, "workflow.run", "--profile", "more", "--only", "02.b", "--seed", "1")[0] == 0
    text = (clone / "notebooks/done").read_text()
    assert text.startswith("more [1] {'b': {'dataset': 'digits', 'lr': 0.2, 'joins': {1: 2}")
    assert not (clone / "notebooks/shown").exists()
    marks = [f.name for f in (clone / "runs/more/jobs").iterdir()]
    assert marks == ["02.b.s1.done"]
    toy.python(clone, "workflow.run", "--profile", "more", "--only", "02")
    assert len(list((clone / "runs/more/jobs").iterdir())) == 4


def test_a_failing_cell_is_told_in_few_lines_and_the_rest_goes_on(clone):
    toy.notebook(clone / "notebooks/01_toy.ipynb", "01", compute="x = 1\nraise ValueError('too bad')")
    status, out = toy.python(clone, "workflow.run", "--profile", "more", FU_RUNS=str(clone / "elsewhere"))
    assert status == 1 and out.count("01.a seed 0 FAILED: ValueError: too bad") == 1 and "line 2" in out
    assert "Traceback" not in out and out.count("\n") <= 10
    names = {f.name for f in (clone / "elsewhere/more/jobs").iterdir()}
    assert {"01.a.s0.failed", "02.a.s0.done", "02.b.s1.done"} <= names and "01.a.s0.done" not in names


def test_a_success_removes_the_mark_of_a_failure(clone):
    marks = clone / "runs/quick/jobs"
    marks.mkdir(parents=True)
    (marks / "01.a.s0.failed").write_text("old")
    assert toy.python(clone, "workflow.run", "--only", "01")[0] == 0
    assert [f.name for f in marks.iterdir()] == ["01.a.s0.done"]


def test_listings(clone):
    status, out = toy.python(clone, "workflow.run", "--profile", "more", "--list", "--only", "02.b")
    assert (status, out) == (0, "02.b.s0\n02.b.s1\n")
    status, out = toy.python(clone, "workflow.run", "--profile", "more", "--flops")
    assert status == 0 and "03.a" in out and "[no notebook yet]" in out and "4 settings, 8 jobs" in out
    assert not (clone / "runs").exists()


def test_the_listing_names_methods_and_ablations():
    setting = {"methods": {"Retrain": {}, "FT": {}}, "ablations": {"NoT/head": {}, "Perturb/mirror": {}}}
    profile = {"profile": "x", "seeds": [0], "seeds_of": {}, "not_yet": [], "notebooks": {"04": {"a": setting}}}
    head, line, _ = cost.listing(profile).splitlines()
    assert head.endswith("methods; ablations") and line.endswith("  Retrain, FT; NoT/head, Perturb/mirror")


@pytest.mark.parametrize("arguments, words", [
    (["--profile", "moer"], "no profile 'moer'; nearest profile: more"),
    (["--only", "04"], "no notebook '04'"),
    (["--profile", "more", "--only", "03"], "there is no notebook notebooks/03_*.ipynb yet"),
    (["--only", "01.b"], "no setting 'b'"),
    (["--only", ","], "--only ',' names nothing"),
])
def test_mistakes_are_one_line(clone, arguments, words):
    status, out = toy.python(clone, "workflow.run", *arguments)
    assert status == 2 and words in out and out.count("\n") == 1


def test_unknown_parameters_are_refused(clone):
    path = clone / "notebooks/01_toy.ipynb"
    with pytest.raises(Bad, match="no parameter 'seed'; nearest parameter: seeds"):
        jobs.execute(path, {"seed": [1]})
    nb = json.loads(path.read_text())
    del nb["cells"][1]["metadata"]["tags"]
    path.write_text(json.dumps(nb))
    with pytest.raises(Bad, match="0 cells tagged parameters"):
        jobs.execute(path, {})


def test_values_are_copies(clone):
    path = clone / "notebooks/01_toy.ipynb"
    toy.notebook(path, "01", compute="settings['a']['lr'] = 9")
    values = {"settings": {"a": {"lr": 1}}}
    assert jobs.execute(path, values)["settings"]["a"]["lr"] == 9
    assert values == {"settings": {"a": {"lr": 1}}}


def test_gpus_are_shared_out(monkeypatch, tmp_path):
    for name in (*jobs.SCHEDULERS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("FU_GPUS", "2")
    monkeypatch.setenv("FU_JOBS_PER_GPU", "2")
    held, seen = [], []
    for _ in range(4):
        held.append(jobs.claim_gpu())
        seen.append(jobs.os.environ.pop("CUDA_VISIBLE_DEVICES"))
    assert seen == ["0", "1", "0", "1"]

    def wait(seconds):
        held.pop(1).close()     # a job on GPU 1 ends
    monkeypatch.setattr(jobs.time, "sleep", wait)
    held.append(jobs.claim_gpu())
    assert jobs.os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert jobs.claim_gpu() is None
    for f in held:
        f.close()


def test_the_fingerprint_follows_code_and_values(monkeypatch, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.py").write_text("1")
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    first = jobs.fingerprint({"lr": 1}, ["x"])
    assert first == jobs.fingerprint({"lr": 1}, ["x"]) != jobs.fingerprint({"lr": 2}, ["x"])
    (tmp_path / "lib/a.py").write_text("2")
    assert first != jobs.fingerprint({"lr": 1}, ["x"])
