"""What is measured of a model. A metric of one's own is one function with the decorator `metric`."""
from ..errors import Bad
from ..words import KINDS, MEASURES, METRICS

SHAPE = "def f(task, state, *, argument: type = default) -> float"


def metric(name=None, *, words=None, unit="ratio", kind="ratio"):
    """Register `f(task, state) -> float` as a metric: a setting that names it under `metrics` has it measured.

    words: what tables and figures call it (default: its name); unit: `percent`, `ratio`, `nats`, or a word of one's
    own; kind: see `lib.words.Metric`. It is measured wherever a model is evaluated, and stands in curves, rows, tables
    and figures like any other metric. Raises Bad if the name is taken.

        @lib.metric("confidence", words="mean confidence", unit="percent", kind="share")
        def confidence(task, state):
            logits = lib.predict(task, state, images=task.x_test)
            return 100 * logits.softmax(1).max(1).values.mean().item()
    """
    register = MEASURES.named(name, words=words or str(name).replace("_", " "), unit=unit, kind=kind)
    if name in METRICS:
        raise Bad(f"@lib.metric({name!r}): this metric is there already; choose another name")
    if kind not in KINDS:
        raise Bad(f"@lib.metric({name!r}): no kind {kind!r}; there are {', '.join(KINDS)}")
    return register


def own(names, where="metrics"):
    """The registered functions of those names, in order; Bad where a name is unknown, with the nearest."""
    return [MEASURES.find(name, where) for name in names]


def uses(settings):
    """The functions that the settings' `metrics` name: what is measured beside the metrics of `evaluate`, so that
    their code belongs to the key of everything that was measured."""
    return own(settings["metrics"])
