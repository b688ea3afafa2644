"""The committed figures, drawn again from the committed rows: no training, and for who has what, the data alone."""
import sys

from lib.errors import Bad
from lib.files import ROOT
from lib.profiles import select

THINNED = "not every evaluated round of these curves was kept"
CURVES = "whole curves, as its table keeps different rounds of different runs"
MODELS = "trained models, which no row holds"


def redraw(profile, only=None, of=("rows", "data")):
    """Draw those figures of a profile's committed tables that are not today's; returns `(drawn, left)`: names, and
    `{name: why it was not}`.

    What is drawn of models stays as its notebook has drawn it; what is drawn of data needs the data.
    """
    from lib.report.drawn import outdated
    from lib.report.gallery import GALLERY
    name = profile["profile"]
    results = ROOT / "results" / name
    numbers = [n for n in select(profile, only) if (results / f"{n}.csv").exists()]
    if not numbers:
        raise Bad(f"figures: results/{name} holds no table of {only or 'any notebook'}; publish one first")
    drawn, left = [], {}
    for number in numbers:
        settings = profile["notebooks"][number]
        wanted = [f for f in GALLERY if f.startswith(f"{number}_") and GALLERY[f].of in (*of, "models")]
        old = [f for f in wanted if outdated(ROOT / "figures" / name / f"{f}.png", results)]
        table = committed(name, number) if old else None
        for figure in old:
            try:
                why = redraw_one(name, figure, table, settings, profile["seeds"])
            except Bad as e:
                why = str(e)
            if why:
                left[figure] = why
            else:
                drawn.append(figure)
    return drawn, left


def committed(name, number):
    """The rows of a committed table."""
    from lib.report.rows import load_results
    return load_results(name, number, where=ROOT / "results" / name)


def redraw_one(name, figure, table, settings, seeds):
    """Draw one figure into figures/<profile>; returns why it was left as it is, empty where it was drawn."""
    from lib.report import drawn
    from lib.report.gallery import GALLERY, draw
    from lib.report.style import style
    where, results, of = ROOT / "figures" / name, ROOT / "results" / name, GALLERY[figure].of
    lacks = MODELS if of == "models" else lacking(figure, table, results)
    if lacks:
        if drawn.outdated(where / f"{figure}.png", results) and (where / f"{figure}.png").exists():
            drawn.keep(where, figure, lacks)
        return f"it lacks {lacks}; run notebook {figure[:2]}"
    style()
    if of == "data":
        fig, rows = GALLERY[figure].draw(first_task(settings, seeds)), ()
    else:
        fig, rows = draw(figure, table, settings), drawn.rows_files(results, figure[:2])
    if fig is None:
        return "its rows are not in the table"
    if is_thinned(figure, table, results):
        say_thinned(fig)
    drawn.save_figure(fig, name, figure, where, rows)
    close(fig)
    return ""


def close(fig):
    import matplotlib.pyplot as plt
    plt.close(fig)


def is_thinned(figure, table, results):
    """Whether a figure is drawn of the curves of a table of an older form, which holds only some of their rounds."""
    from lib.report.gallery import OF_CURVES
    is_older = figure in OF_CURVES and not (results / f"{figure[:2]}.curves.csv").exists()
    return is_older and (table["stop"] == "curve").any()


def lacking(figure, table, results):
    """What is lacking to draw a figure of such a table: where its runs were kept at different rounds, lines between them
    would show what nobody has measured. Empty where nothing is."""
    if not is_thinned(figure, table, results):
        return ""
    curves = table[(table["stop"] == "curve") & (table["metric"] == "retain_acc")]
    for _, here in curves.groupby("setting"):
        rounds = [set(run) for _, run in here.groupby(["method", "variant"])["round"] if run.nunique() > 1]
        last = min(map(max, rounds), default=0)
        if len({frozenset(r for r in kept if r <= last and r < max(kept)) for kept in rounds}) > 1:
            return CURVES
    return ""


def say_thinned(fig):
    """Say on a figure that not all rounds are there."""
    from lib.report.style import say
    before = fig.get_suptitle().replace("\n", " ")
    say(fig, "; ".join(filter(None, [before, THINNED])))


def first_task(settings, seeds):
    """The task whose clients a notebook shows."""
    import lib
    name, keys = next(iter(settings.items()))
    return lib.make_task(keys, seeds[0], name)


def tell(drawn, left):
    """What was drawn, and what was not and why, on stderr."""
    print(f"drew {len(drawn)} figures; those of today's code and rows stay as they are", file=sys.stderr)
    for figure, why in left.items():
        print(f"not drawn: {figure}: {why}", file=sys.stderr)
