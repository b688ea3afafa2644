"""Every notebook's settings and seeds as jobs. Use ./run_all.sh, which makes the environment and calls this.

A job is one setting of one notebook at one seed; it fills the store and leaves runs/<profile>/jobs/*.done. When they
are done, the notebook runs once more over its settings and seeds and becomes runs/<profile>/notebooks/*.ipynb, .html.
"""
import json
import os
import sys

sys.path.insert(0, workflow.basedir)
from lib.params import load, seeds_of, select
from lib.publish import state
from lib.jobs import cells, fingerprint, notebook, runs

P = load(config.get("profile", "quick"))
R = str(runs(P["profile"]))
NB = {n: s for n, s in select(P, config.get("only", "").lstrip(":")).items() if notebook(n)}
if config.get("rest"):      # a second pass, for those that waited for a notebook that failed
    NB = {n: s for n, s in NB.items() if state(P["profile"], n)[0] != "failed"}
GPU = 1 if int(os.environ.get("FU_GPUS") or 0) else 0

# A notebook here starts when those it builds on are done (of those that were asked for). It does not need them: what
# the store lacks it computes; this only avoids two jobs waiting for the same training.
NEEDS = {"02": ["01"], "04": ["01"], "05": ["01"]}


def stem(number):
    return notebook(number).stem


def marks(number):
    """The jobs of a notebook; none where the report is as quick by itself."""
    few = len(seeds_of(P, number)) == 1 and (P["profile"] == "quick" or len(NB[number]) == 1)
    return [] if few else [f"{R}/jobs/{number}.{s}.s{seed}.done" for s in NB[number]
                           for seed in seeds_of(P, number)]


def needed(number):
    return [ancient(f"{R}/notebooks/{stem(n)}.ipynb") for n in NEEDS.get(number, []) if n in NB]


def part(number):
    return number if len(NB[number]) == len(P["notebooks"][number]) else ",".join(f"{number}.{s}" for s in NB[number])


def code(number, *tags):
    return [source for _, source in cells(notebook(number), *tags)]


def sources(number):
    """All cells, texts as well: the page shows them."""
    return ["".join(c["source"]) for c in json.loads(notebook(number).read_text(encoding="utf-8"))["cells"]]


wildcard_constraints:
    nb=r"\d\d", setting=r"\w+", seed=r"\d+", name=r"\w+"

localrules: all

rule all:
    input: [f"{R}/notebooks/{stem(n)}.ipynb" for n in NB], [m for n in NB for m in marks(n)]

rule setting:
    input: lambda w: needed(w.nb)
    output: R + "/jobs/{nb}.{setting}.s{seed}.done"
    params: key=lambda w: fingerprint(NB[w.nb][w.setting], code(w.nb, "parameters", "compute"))
    resources: gpu=GPU, runtime=1440, mem_mb=4000
    threads: 1
    shell: "{sys.executable} -m lib.run --profile {P[profile]} --only {wildcards.nb}.{wildcards.setting} "
           "--seed {wildcards.seed}"

rule report:
    input: lambda w: marks(w.nb), lambda w: needed(w.nb)
    output: R + "/notebooks/{nb}_{name}.ipynb"
    params:
        key=lambda w: fingerprint(NB[w.nb], seeds_of(P, w.nb), sources(w.nb)),
        src=lambda w: notebook(w.nb), part=lambda w: part(w.nb)
    resources: gpu=GPU, runtime=1440, mem_mb=4000
    threads: 1
    shell: "{sys.executable} -m lib.nb {params.src:q} {output:q} --profile {P[profile]} --only {params.part}"
