"""The committed figures, drawn again from the committed rows: no training, and for who has what, the data alone."""
import sys

from lib.errors import Bad
from lib.files import ROOT
from lib.profiles import select

THINNED = "not every evaluated round of these curves was kept"


def redraw(profile, only=None, of=("rows", "data")):
    """Draw the figures of a profile's committed tables; returns `(drawn, left)`: names, and `{name: why it was not}`.

    What is drawn of models stays as its notebook has drawn it; what is drawn of data needs the data.
    """
    from lib.report.gallery import GALLERY
    name = profile["profile"]
    results = ROOT / "results" / name
    numbers = [n for n in select(profile, only) if (results / f"{n}.csv").exists()]
    if not numbers:
        raise Bad(f"figures: results/{name} holds no table of {only or 'any notebook'}; publish one first")
    drawn, left = [], {}
    for number in numbers:
        settings = profile["notebooks"][number]
        table = committed(name, number)
        for figure in [f for f in GALLERY if f.startswith(f"{number}_") and GALLERY[f].of in (*of, "models")]:
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
    import matplotlib.pyplot as plt
    from lib.report.drawn import rows_files, save_figure
    from lib.report.gallery import GALLERY, draw
    from lib.report.style import style
    picture, number = GALLERY[figure], figure[:2]
    where, results = ROOT / "figures" / name, ROOT / "results" / name
    style()
    if picture.of == "models":
        return "it needs trained models; run its notebook"
    if picture.of == "data":
        save_figure(picture.draw(first_task(settings, seeds)), name, figure, where)
        plt.close("all")
        return ""
    fig = draw(figure, table, settings)
    if fig is None:
        return "its rows are not in the table"
    mark_thinned(fig, figure, results, table)
    save_figure(fig, name, figure, where, rows_files(results, number))
    plt.close("all")
    return ""


def first_task(settings, seeds):
    """The task whose clients a notebook shows."""
    import lib
    name, keys = next(iter(settings.items()))
    return lib.make_task(keys, seeds[0], name)


def mark_thinned(fig, figure, results, table):
    """Say on a figure of curves that its table, of an older form, holds only some of their rounds."""
    from lib.report.gallery import OF_CURVES
    from lib.report.style import say
    if figure not in OF_CURVES or (results / f"{figure[:2]}.curves.csv").exists():
        return
    if (table["stop"] == "curve").any():
        before = fig.get_suptitle().replace("\n", " ")
        say(fig, "; ".join(filter(None, [before, THINNED])))


def tell(drawn, left):
    """What was drawn, and what was not and why, on stderr."""
    print(f"drew {len(drawn)} figures", file=sys.stderr)
    for figure, why in left.items():
        print(f"not drawn: {figure}: {why}", file=sys.stderr)
