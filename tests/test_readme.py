"""The README: short, in order, its numbers those of the rows, its links, commands and recipes such as work."""
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import sentences
import yaml
from conftest import TINY
from PIL import Image
from scipy import stats

import lib
import lib.fl.task  # noqa: F401  what lib brings is there before a test adds to it
import lib.methods  # noqa: F401
import lib.report.claims  # noqa: F401
from lib import words
from lib.files import ROOT
from lib.profiles import load, select
from lib.registry import DATASETS, METHODS, MODELS
from lib.report.claims.verdicts import CLAIMS

README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT, REFERENCE = README.split("\n# Reference\n")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "RESULTS.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = ["Answers in 60 seconds", "Two commands", "What is reproduced", "What is measured", "Notebooks",
            "Which method should I use?", "Your own data, net, method, metric, claim", "Profiles", "How sure are we?"]


@pytest.fixture(autouse=True)
def as_before():
    """Nothing that a recipe or a profile's extension registers stays."""
    kept = [(r, dict(r)) for r in (METHODS, MODELS, DATASETS, words.MEASURES, CLAIMS)]
    modules = set(sys.modules)
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)
    for name in set(sys.modules) - modules:
        if name == "parts":
            del sys.modules[name]


def part(name):
    """What is written between two marks."""
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.S)[1]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


# ---------------------------------------------------------------- its form

def test_it_is_short():
    """Words of prose and tables before the reference part; commands and recipes are not counted."""
    prose = re.sub(r"```.*?```", "", FRONT, flags=re.S)
    counted = [word for word in prose.split() if re.search(r"\w", word)]
    assert len(counted) <= 1200


def test_its_sections_stand_in_order():
    assert re.findall(r"^## (.*)$", FRONT, re.M) == SECTIONS
    assert FRONT.count("![") == 2       # one at the top, and one of what neither paper asks
    assert FRONT.index("![") < FRONT.index("## Answers") < FRONT.rindex("![") < FRONT.index("## Two commands")


def anchors(path):
    """The anchors of a page's headings, as a host of repositories makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]
    for link in links:
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


# ---------------------------------------------------------------- its numbers

SPAN = rf"({sentences.NUMBER}) \[({sentences.NUMBER}), ({sentences.NUMBER})\]"
ANSWERS = part("answers").splitlines()


def answer(question):
    [line] = [line for line in ANSWERS if line.startswith(f"* **{question}")]
    return line


def rows_of(text, other=None):
    """The rows of every setting that an answer's bracket can mean: those of its file with its data set, or another's, and n."""
    dataset, n, profile, notebook = re.search(r"\(([^(,]+), \w+, n = (\d+); \[rows\]\(results/(\w+)/(\d\d)\.csv\)", text).groups()
    long = sentences.read(ROOT / "results" / profile / f"{notebook}.csv")
    here = long[long["dataset"] == (other or dataset)]
    found = [sentences.Rows(profile, notebook, name) for name in here["setting"].unique()]
    return [r for r in found if len(r.seeds()) == int(n)]


def interval(difference):
    """Mean and ends of the 95 % interval over seeds."""
    x = difference.dropna().to_numpy()
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean(), x.mean() - half, x.mean() + half


def agree(said, values):
    return all(sentences.agrees(a, b) for a, b in zip(said, values, strict=True))


def some(rows, said, make):
    """Whether of some setting the numbers are as said."""
    found = []
    for r in rows:
        try:
            found.append(agree(said, make(r)))
        except (KeyError, ValueError, TypeError):       # a setting without that method
            found.append(False)
    return any(found)


def test_whether_not_forgets():
    text = answer("Does NoT forget")
    spans = re.findall(SPAN, text)
    assert len(spans) == 3      # of the first data set both, of the other the first
    for metric, said, rows in zip(("forget_acc", "mia", "forget_acc"), spans, [rows_of(text)] * 2 + [rows_of(text, "FashionMNIST")]):
        assert some(rows, said, lambda r: interval(r.at("NoT", "full", metric) - r.last("Retrain", metric)))
    floor = re.search(r"a second Retrain: ([\d.]+)\)", text)[1]
    assert some(rows_of(text), [floor], lambda r: [(r.last("Retrain name=again", "forget_acc") - r.last("Retrain", "forget_acc")).abs().mean()])


def test_whether_not_beats_retraining():
    text = answer("Does NoT beat retraining")
    spans = re.findall(SPAN, text.partition("(")[0])
    assert len(spans) == 3
    for stop, said in zip(("quarter", "half", "full"), spans):
        gaps = [(r, stop) for r in rows_of(text)]
        assert some([r for r, _ in gaps], said, lambda r: interval(r.at("NoT", stop, "avg_gap") - r.at("Retrain name=again", stop, "avg_gap")))


def test_the_verdicts_follow_from_the_intervals():
    """Yes below zero, no above, by more than the second Retrain's gap; else not told apart."""
    text = answer("Does NoT beat retraining")
    rows = [r for r in rows_of(text) if ("NoT", "") in r.runs]
    floor = rows[0].last("Retrain name=again", "avg_gap").mean()
    for word, mean, low, high in re.findall(rf"(yes|no|not told apart), {SPAN}", text):
        mean, low, high = float(mean), float(low), float(high)
        apart = abs(mean) > floor and (high < 0 or low > 0)
        assert word == ("not told apart" if not apart else "yes" if mean < 0 else "no"), word


@pytest.mark.parametrize("question, method", [("Does NoT beat fine-tuning", "FT"), ("Does NoT beat TIS", "TIS-Reset")])
def test_whether_not_beats_another(question, method):
    text = answer(question)
    spans = re.findall(rf"(as published|searched \(([^)]*)\)|with recovery): (?:yes|no|not told apart), {SPAN}", text)
    assert spans
    for label, option, *said in spans:
        def make(r):
            [name] = [run for run in r.runs if run[0] == method and (label != "as published") == bool(run[1])
                      and (not option or run[1] == option)]
            return interval(r.at("NoT", "half", "avg_gap") - r.at(" ".join(name).strip(), "half", "avg_gap"))
        assert some(rows_of(text), said, make), label


def test_what_becomes_of_a_backdoor():
    for text in re.findall(r"\w[\w-]*: attack success.*?\)\)", answer("Does a backdoor go")):
        method = text.partition(":")[0]
        before, after = re.search(r"from ([\d.]+) % to ([\d.]+) %", text).groups()
        stop, name = ("oracle", "TIS-Reset reset=zero") if method == "TIS-Reset" else ("last", method)
        said = re.search(SPAN, text).groups()
        assert some(rows_of(text), [before, after], lambda r: [r.at("Original", stop, "asr").mean(), r.at(name, stop, "asr").mean()])
        assert some(rows_of(text), said, lambda r: interval(r.at(name, stop, "asr") - r.at("Retrain", stop, "asr")))


def test_what_the_audit_finds():
    text = answer("Can somebody still tell")
    profile = re.search(r"results/(\w+)/12", text)[1]
    long = sentences.read(ROOT / "results" / profile / "12.csv")
    long = long[(long["metric"] == "attack_acc") & (long["stop"] == "full")]
    for method, option, said in zip(("NoT", "Retrain"), ("", "name=again"), re.findall(SPAN, text)):
        for bound, value in zip(("", "bound=low", "bound=high"), said):
            variant = ";".join(sorted(filter(None, [bound, option, "over=forget"])))
            here = long[(long["method"] == method) & (long["variant"] == variant)]
            means = here.groupby("setting")["value"].mean()
            assert any(sentences.agrees(value, mean) for mean in means), (method, bound)


def test_counts_of_theorems_and_statements():
    text = answer("Do the theorems hold")
    profile = re.search(r"results/(\w+)/05", text)[1]
    claims = sentences.read(ROOT / "results" / profile / "claims.csv")
    for id in re.findall(r"\((N\d\d)\)", text):
        verdicts = claims[claims["id"] == id]["verdict"]
        assert "fails in every seed" in set(verdicts)
    for line in part("sure").splitlines():
        if said := re.match(r"\* `(\w+)`: .*?(\d+) of the papers' (\d+) statements tested, at (\d+) places", line):
            table = sentences.read(ROOT / "results" / said[1] / "claims.csv")
            table = table[table["id"].str.match(r"[NT]\d\d$")]
            tested = table[table["verdict"] != "not yet"]
            assert [str(tested["id"].nunique()), str(table["id"].nunique()), str(len(tested))] == list(said.groups()[1:])


def test_the_status_counts_all_tables_and_figures():
    text = part("status")
    for count, kind in re.findall(r"(\d+) (tables|figures): ", text):
        scales = re.search(rf"{count} {kind}: (.*?)[;.]", text)[1]
        assert sum(map(int, re.findall(r"(\d+) (?:at|not)", scales))) == int(count) == {"tables": 13, "figures": 10}[kind]


def test_every_notebook_is_listed():
    listed = re.findall(r"\]\(notebooks/(\S+)\)", part("notebooks"))
    assert listed == [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def test_profiles_are_those_that_there_are():
    listed = re.findall(r"^\| `(\w+)` \|", part("profiles"), re.M)
    assert {*listed, "flower"} == {path.stem for path in (ROOT / "params").glob("*.yaml")}


# ---------------------------------------------------------------- its commands

def commands():
    """Every command line of the pages, in blocks and in the text."""
    for page in PAGES:
        if page.name in ("RESULTS.md", "CHANGELOG.md", "determinism.md"):
            continue
        text = page.read_text(encoding="utf-8")
        for line in "".join(blocks(text, "bash")).splitlines():
            yield page.name, line
        for line in re.findall(r"`((?:\./run_all\.sh|\S*python) [^`…]+)`", text):
            yield page.name, line


@pytest.mark.parametrize("page, line", sorted(set(commands())))
def test_commands_name_what_there_is(page, line):
    parts = shlex.split(line, comments=True)
    while parts and re.match(r"\w+=", parts[0]):
        parts.pop(0)
    if not parts or "<" in line:
        return
    if parts[0] == "./run_all.sh":
        known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", (ROOT / "run_all.sh").read_text(encoding="utf-8")))
        own = parts[:parts.index("--")] if "--" in parts else parts
        assert {p.partition("=")[0] for p in own if p.startswith("-")} <= known
        chosen = dict(zip(own, own[1:]))
        select(load(str(ROOT / chosen["--profile"]) if "/" in chosen.get("--profile", "") else chosen.get("--profile", "quick")),
               chosen.get("--only"))
    elif "-m" in parts and parts[parts.index("-m") + 1] not in ("pip",):
        module = Path(*parts[parts.index("-m") + 1].split("."))
        assert (ROOT / module).with_suffix(".py").exists()
    elif parts[0].endswith("python") and len(parts) > 1 and parts[1].endswith(".py"):
        assert (ROOT / parts[1]).exists()


# ---------------------------------------------------------------- its recipes

@pytest.fixture
def birds(tmp_path):
    """A folder of two class folders, whose classes differ by brightness."""
    numbers = np.random.default_rng(0)
    for label, light in (("jay", 60), ("owl", 180)):
        (tmp_path / "birds" / label).mkdir(parents=True)
        for i in range(60):
            picture = np.clip(numbers.normal(light, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "birds" / label / f"{i}.png")
    return tmp_path / "birds"


def test_the_recipes_run_as_they_stand(birds, store):
    """Each recipe in turn, on a toy setting in place of notebook 02's, with the folder at hand for that of the reader."""
    recipes = blocks(FRONT, "python")
    assert len(recipes) == 5
    toy = {**TINY, "clients": 3, "n_test": None, "size": None, "rounds": 2, "unlearn_rounds": 2, "lr": 0.01, "dtype": "float32"}
    names = {"__name__": "__main__", "settings": {"digits_small_cnn": toy}}
    for i, recipe in enumerate(recipes):
        cell = birds.parent / f"cell{i}.py"             # a file, as keys are made of a function's source
        cell.write_text(recipe.replace("~/birds", str(birds)), encoding="utf-8")
        exec(compile(cell.read_text(encoding="utf-8"), str(cell), "exec"), names)
    settings = names["settings"]
    assert settings["birds"]["dataset"] == str(birds)

    [task] = lib.tasks({"birds": settings["birds"]}, [0])
    width, pixels = toy["width"], 3 * 32 * 32
    assert sum(p.numel() for p in task.model.parameters()) == pixels * width + width + 2 * width + 2     # own_net, no other
    df = lib.rows(lib.run_all([task], store), profile="quick", notebook="02")
    assert {"Shrink", "FT"} <= set(df["method"]) and (df[df["method"] == "Shrink"]["variant"] == "by=0.3").all()
    shares = df[df["metric"] == "confidence"]["value"]
    assert len(shares) and shares.between(50, 100).all()
    judged = lib.judge(df, "02").set_index("id").loc["A1"]
    assert judged["n"] == 1 and judged["value"].startswith("gap ")


# ---------------------------------------------------------------- its citations

def test_the_citations_are_those_of_the_citation_file():
    [entries] = blocks(REFERENCE, "bibtex")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    titles = [reference["title"] for reference in (*cited["references"], cited)]
    plain = entries.replace("{", "").replace("}", "")
    for title in titles:
        assert title in plain
    for reference in cited["references"]:
        names = " and ".join(f"{who['family-names']}, {who['given-names']}" for who in reference["authors"])
        assert names in plain
    assert entries.count("{") == entries.count("}") and len(re.findall(r"^@\w+\{", entries, re.M)) == 3
    assert "withdrawn" in entries and "2508.19065" in entries
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.*)"', project, re.M)[1] == str(cited["version"])
