"""Tables to take away: what they say, and that LaTeX takes them."""
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import lib
from lib.files import ROOT, runs_root
from lib.report.export import tex
from lib.report.provenance import parts_of
from lib.report.reproduced import committed

WHERE = ROOT / "results/reduced"
SETTING = "cifar10_small_cnn"
[ABOUT] = [part for part in parts_of(json.loads((WHERE / "02.meta.json").read_text(encoding="utf-8"))) if SETTING in part["settings"]]
METRICS = ["forget_acc", "avg_gap", "comm_ratio"]


@pytest.fixture(scope="module")
def df():
    return committed("reduced", "02").query("setting == @SETTING").copy()


@pytest.fixture(autouse=True)
def own_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))


def made(*arguments, **more):
    return lib.export(*arguments, **more).read_text(encoding="utf-8")


def test_a_file_by_its_name_in_the_run_of_its_profile(df, tmp_path):
    assert lib.export(df, "table1", "csv") == runs_root() / "reduced/tables/table1.csv"
    assert lib.export(df, "table1", "md", where=tmp_path / "mine") == tmp_path / "mine/table1.md"
    plain = pd.DataFrame({"a": [1]})
    assert lib.export(plain, "plain", "csv") == runs_root() / "tables/plain.csv"


def test_the_caption_says_where_n_and_from_what(df):
    for form, percent, dash in (("md", "%", "_"), ("tex", r"\%", r"\_")):
        text = made(df, "t", form, metrics=METRICS, stop="half")
        assert "At half of Retrain's cost. mean" in text and f"over n = {ABOUT['n']} seeds" in text
        assert f"./run{dash}all.sh --profile reduced --only 02, commit {ABOUT['commit']}" in text
        assert f"forget accuracy, {percent}" in text
    text = made(lib.pairs(df), "t", "md")
    assert f"95 % interval of paired seeds (Student's t); n = {ABOUT['n']} seeds. From ./run_all.sh" in text
    assert made(df, "t", "md", metrics=METRICS, caption="Ours").count("Ours. mean ± sd") == 1


def test_numbers_are_those_of_the_summary(df):
    means = lib.summary(df, "half")
    one = means[(means["method"] == "NoT") & (means["variant"] == "") & (means["metric"] == "avg_gap")].iloc[0]
    cell = f"{one['mean']:.2f} ± {one['sd']:.2f}"
    assert f"| NoT |  | {cell} |" in made(df, "t", "md", metrics=["avg_gap"], stop="half")
    assert f"NoT &  & {tex(cell)} \\\\" in made(df, "t", "tex", metrics=["avg_gap"], stop="half")
    back = pd.read_csv(lib.export(df, "t", "csv", stop="half"), keep_default_na=False)
    same = back[(back["method"] == "NoT") & (back["variant"] == "") & (back["metric"] == "avg_gap")].iloc[0]
    assert np.isclose(float(same["mean"]), one["mean"]) and int(same["n"]) == ABOUT["n"]


def test_the_smallest_gap_is_bold(df):
    text = made(df, "t", "tex", metrics=["avg_gap"], stop="half")
    bold = [line for line in text.splitlines() if r"\bfseries" in line]
    gaps = lib.by_seed(df, "avg_gap", "half").mean().drop(["Original", "Retrain", "Retrain name=again"])
    assert len(bold) == 1 and bold[0].startswith(gaps.idxmin().split()[0])


def test_a_pair_with_its_interval(df):
    both = lib.pairs(df, "half")
    one = both[(both["method"] == "FT") & (both["other"] == "NoT")]
    text = made(one, "t", "md").splitlines()
    assert any("average gap, at half of Retrain's cost: mean difference" in line for line in text)
    text = [line for line in text if line.startswith("|")]
    assert text[0] == "| method | other | difference | 95 % interval | smaller in | verdict |"
    line = one.iloc[0]
    assert text[2] == (f"| FT | NoT | {line['mean']:+.2f} | {line['low']:+.2f} to {line['high']:+.2f} | "
                       f"{line['wins']} of {line['n']} | {line['verdict']} |")


@pytest.mark.parametrize("text, latex", [
    ("50 % & #1_a", r"50 \% \& \#1\_a"), ("1.2 ± 0.3", r"1.2 $\pm$ 0.3"), ("-1.40", "$-$1.40"), ("l1-sparse", "l1-sparse"),
    ("1e-08", "1e-08"), ("\\{x}~^", r"\textbackslash{}\{x\}\textasciitilde{}\textasciicircum{}"), ("γ → −1", r"$\gamma$ $\to$ $-$1"),
])
def test_letters_that_latex_reads_otherwise(text, latex):
    assert tex(text) == latex


@pytest.mark.parametrize("name, form, words", [("t", "docx", "form 'docx'"), ("../t", "tex", "name of a file"), ("", "md", "name of a file")])
def test_wrong_names_and_forms(df, name, form, words):
    with pytest.raises(lib.Bad, match=words):
        lib.export(df, name, form)


def test_the_recipe(monkeypatch):
    """What docs/running.md says works as it stands there."""
    text = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "lib.export" in block]
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert {path.name for path in (runs_root() / "reduced/tables").iterdir()} == {"table1.tex", "against_not.tex", "table1.csv"}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
def test_latex_takes_them(df, tmp_path):
    nasty = pd.DataFrame({"a & b_c": ["50 % #1", "x^2 ~ {y} \\z $3"], "γ": [-1.5, np.nan]})
    tables = {"rows": df, "beside": lib.compare(df, "not_table1"), "pairs": lib.pairs(df).head(9), "tiers": lib.tiers(df),
              "nasty": nasty, "named": nasty.rename_axis("n_x")}
    for name, table in tables.items():
        lib.export(table, name, "tex", where=tmp_path)
    inputs = "\n".join(rf"\input{{{name}.tex}}" for name in tables)
    (tmp_path / "all.tex").write_text(rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}")
    done = subprocess.run(["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


def test_rules_and_columns_fit_without_a_compiler(df):
    text = made(df, "t", "tex", metrics=METRICS)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{llrrr}", r"\label{tab:t}"):
        assert text.count(part) == 1, part
    assert all(line.count("&") - line.count(r"\&") == 4 for line in text.splitlines() if line.endswith(r"\\"))
