"""What hosts and editors read: the workflow, the container, the forms, the hooks; none can be run here, so each is read."""
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from lib.files import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# the addresses of registries, in two parts so that this file names none
REGISTRIES = [("pypi", ".org"), ("pythonhosted", ".org"), ("download.pytorch", ".org"), ("conda.anaconda", ".org"),
              ("ghcr", ".io"), ("docker", ".io"), ("quay", ".io"), ("mcr.microsoft", ".com"), ("registry.npmjs", ".org"),
              ("deb.debian", ".org"), ("--index", "-url"), ("--extra-", "index")]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def workflow(path):
    """A workflow; YAML 1.1 reads its key `on` as true."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps():
    """Every step of every workflow, as `(job, step)`."""
    return [(name, step) for path in WORKFLOWS for name, job in workflow(path)["jobs"].items() for step in job["steps"]]


# ---------------------------------------------------------------- the workflow

def test_linux_with_every_python_tests_and_quick():
    [path] = WORKFLOWS
    jobs = workflow(path)["jobs"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    said = [step.get("run") for step in jobs["linux"]["steps"]]
    assert "./run_all.sh --test" in said and "./run_all.sh" in said
    assert jobs["macos"]["runs-on"].startswith("macos") and "matrix" not in str(jobs["macos"])


def test_it_runs_at_a_push_and_once_a_month():
    [path] = WORKFLOWS
    when = workflow(path)[True]
    assert {"push", "pull_request", "schedule", "workflow_dispatch"} == set(when)
    [entry] = when["schedule"]
    minute, hour, day, month, weekday = entry["cron"].split()
    assert day.isdigit() and (month, weekday) == ("*", "*")


def test_it_may_read_alone_and_ends():
    for path in WORKFLOWS:
        whole = workflow(path)
        assert whole["permissions"] == {"contents": "read"}
        assert all(job["timeout-minutes"] <= 360 for job in whole["jobs"].values())
        assert "secrets." not in path.read_text(encoding="utf-8")


def test_every_step_runs_what_there_is():
    options = set(re.findall(r"(?<![\w-])--?\w[\w-]*", read("run_all.sh")))
    for name, step in steps():
        assert ("run" in step) != ("uses" in step), (name, step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
            continue
        command = step["run"]
        if command.startswith("./"):
            script, *words = command.split()
            assert (ROOT / script).stat().st_mode & 0o100, script
            assert {word for word in words if word.startswith("-")} <= options
        for module in re.findall(r"import ([\w., ]+)", command):
            for part in module.replace(" ", "").split(","):
                assert part in ("torch", "torchvision") or any(
                    (ROOT / part.replace(".", "/")).with_suffix(end).exists() for end in ("", ".py")), part


def test_what_could_not_be_tried_says_so():
    for path in (*WORKFLOWS, ROOT / "Dockerfile", ROOT / "environment.yml"):
        head = "\n".join(path.read_text(encoding="utf-8").splitlines()[:4])
        assert "Untested" in head, path.name


# ---------------------------------------------------------------- the container, conda

def test_the_container_is_of_a_python_that_suffices():
    text = read("Dockerfile")
    [version] = re.findall(r"^FROM python:3\.(\d+)-slim$", text, re.M)
    assert int(version) >= 11
    assert json.loads(re.search(r"^CMD (.*)$", text, re.M)[1]) == ["./run_all.sh"]
    ignored = read(".dockerignore").split()
    assert {".git", ".venv", "runs", "data"} <= set(ignored) and "lib" not in ignored
    place = re.search(r"^WORKDIR (.*)$", text, re.M)[1]
    editor = json.loads(read(".devcontainer/devcontainer.json"))
    assert (ROOT / ".devcontainer" / editor["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert editor["workspaceFolder"] == place
    assert editor["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].startswith(
        re.search(r"VIRTUAL_ENV=(\S+)", text)[1])


def test_conda_installs_what_pip_does():
    found = yaml.safe_load(read("environment.yml"))
    assert {"pip": ["-e ."]} in found["dependencies"] and "python=3.11" in found["dependencies"]
    of_the_job = [step["with"] for _, step in steps() if "environment-file" in step.get("with", {})]
    assert [w["activate-environment"] for w in of_the_job] == [found["name"]]
    assert (ROOT / of_the_job[0]["environment-file"]).exists()


# ---------------------------------------------------------------- forms and hooks

FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_is_one(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in ("input", "textarea", "checkboxes", "dropdown", "markdown")
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] in ("checkboxes", "dropdown"))
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_form_for_methods_knows_what_methods_need():
    from lib.report.tables import NEEDS
    form = yaml.safe_load(read(".github/ISSUE_TEMPLATE/method.yml"))
    [boxes] = [field for field in form["body"] if field["type"] == "checkboxes"]
    assert len(boxes["attributes"]["options"]) == len(NEEDS)


def test_hooks_are_optional_and_of_the_extra_dev():
    hooks = [hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    extra = {re.split(r"[<>=\[]", name)[0] for name in PROJECT["project"]["optional-dependencies"]["dev"]}
    assert {"ruff", "nbstripout"} == {hook["id"] for hook in hooks} and {"ruff", "nbstripout", "pre-commit"} <= extra
    needed = {re.split(r"[<>=\[]", name)[0] for name in PROJECT["project"]["dependencies"]}
    assert not needed & {"ruff", "nbstripout", "pre-commit"}


def test_a_committed_notebook_is_what_the_filter_leaves():
    """The filter changes nothing in what is committed, and takes away what Jupyter adds beside outputs."""
    _, script = re.search(r'filter\.notebook\.clean "(.*?)"', read(".gitattributes"))[1].split()
    assert "*.ipynb filter=notebook" in read(".gitattributes")
    for source in sorted(ROOT.glob("notebooks/*.ipynb")):
        committed = source.read_text(encoding="utf-8")
        assert filtered(script, committed) == committed, source.name
    nb = json.loads(committed)
    nb["metadata"]["language_info"] = {"name": "python", "version": "3.12.1", "file_extension": ".py", "mimetype": "text/x-python"}
    nb["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    for cell in nb["cells"]:
        cell["metadata"] |= {"execution": {"iopub.status.busy": "2026-01-01T00:00:00Z"}}
    assert filtered(script, json.dumps(nb, indent=2)) == committed
    assert filtered(script, "no notebook\n") == "no notebook\n"


def filtered(script, text):
    """What the filter makes of a text."""
    done = subprocess.run([sys.executable, script], cwd=ROOT, input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode()


def test_csv_files_keep_their_bytes():
    """Checksums stand beside them: no end of line may be changed."""
    said = subprocess.run(["git", "check-attr", "text", "results/reduced/02.csv", "lib/files.py"], cwd=ROOT, text=True, capture_output=True)
    if said.returncode:
        pytest.skip("no clone")
    assert said.stdout.splitlines() == ["results/reduced/02.csv: text: unset", "lib/files.py: text: auto"]


def test_no_file_names_the_address_of_a_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True)
    if listed.returncode:
        pytest.skip("no clone")
    words = ["".join(parts) for parts in REGISTRIES]
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".png", ".pdf", ".csv") or not path.exists():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{name}: {word}" for word in words if word in text]
    assert found == []


def test_the_citation_file_is_whole():
    cited = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(cited)
    assert str(cited["version"]) == PROJECT["project"]["version"] and cited["license"] == PROJECT["project"]["license"]
    assert "withdrawn" in cited["references"][1]["notes"]
