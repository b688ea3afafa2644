"""What neither paper asks, in three lines for each notebook, made from rows."""
from typing import NamedTuple

import numpy as np

from ..words import AVG_GAP, REFERENCE
from .beside import beyond, found_after, part_of
from .by_example import audited
from .statistics import AGAIN

NOT = "NoT"


class Question(NamedTuple):
    """A question of ours: the notebook that asks it, its picture, and the lines that answer it from the rows of one
    setting."""
    notebook: str
    asks: str
    figure: str
    lines: object


def answered(ask, df):
    """The lines, a setting after the other; of a setting without what they need one that says so."""
    said = []
    for setting, here in df.groupby("setting", sort=True):
        try:
            said += [f"`{setting}`: {line}" for line in ask(here)]
        except (KeyError, IndexError) as missing:
            said.append(f"`{setting}`: the rows lack {missing}.")
    return said


def told(mean, low=None, high=None):
    """`66.8 %`, with an interval where there is one."""
    interval = "" if low is None else f" [{low:.1f}, {high:.1f}]"
    return f"{mean:.1f} %{interval}"


# ---------------------------------------------------------------- notebook 12

def by_example(df):
    """Who is told from Retrain by forgotten images, for half of the budget, and by other images."""
    table = audited(df, "attack_acc").mean()
    ends = [audited(df, "attack_acc", bound=bound).mean() for bound in ("low", "high")]
    others = table.drop([AGAIN, "Original"], errors="ignore").sort_values()
    yield (f"by its forgotten images NoT's model is told from one that never saw them in "
           f"{told(table[NOT], ends[0][NOT], ends[1][NOT])} of the cases; guessing is 50 %, a second Retrain stands at "
           f"{told(table[AGAIN], ends[0][AGAIN], ends[1][AGAIN])}; nearest is {others.index[0]} with {told(others.iloc[0])}, "
           f"farthest {others.index[-1]} with {told(others.iloc[-1])}.")
    half = audited(df, "attack_acc", stop="half").mean()
    yield f"for half of Retrain's budget NoT stands at {told(half[NOT])}, a Retrain that is stopped there at {told(half[AGAIN])}."
    retain, test = (audited(df, "attack_acc", over).mean()[NOT] for over in ("retain", "test"))
    yield f"by retained images NoT is told in {told(retain)} of the cases, by test images in {told(test)}."


# ---------------------------------------------------------------- notebook 13

def afterwards(df):
    """What is left beyond Retrain after each part, who is found, and how requests add up."""
    parts = {"as it ends": found_after(df, "in_few_bits", "forget_acc", bits=32),
             "after the further rounds": found_after(df, "further", "forget_acc", "last"),
             "in 4 bits": found_after(df, "in_few_bits", "forget_acc", bits=4),
             "negated again": found_after(df, "negated_again", "forget_acc")}
    differences = {words: beyond(table) for words, table in parts.items()}
    ours, floor = (", ".join(f"{said(found[name])} {words}" for words, found in differences.items()) for name in (NOT, AGAIN))
    yield f"accuracy on the forgotten images minus Retrain's, in points: NoT {ours}; a second Retrain {floor}."
    found = {when: found_after(df, "who_left", "leaver_first", when=when, by="loss").mean() for when in ("start", "end")}
    yield (f"by the loss of its images the client that left is found from both models in {found['end'][REFERENCE]:.0f} % of the "
           f"seeds with Retrain and {found['end'][NOT]:.0f} % with NoT, right after NoT's own step in {found['start'][NOT]:.0f} %.")
    gaps = [found_after(df, "in_turn", AVG_GAP, at)[NOT] for at in ("first", "last")]
    early = [found_after(df, "in_turn", AVG_GAP, at, stopped="early")[AGAIN] for at in ("first", "last")]
    many = part_of(df, "in_turn")["round"].max()
    yield (f"of {many} clients that leave one after another, NoT's average gap is {spread(gaps[0])} at the first and "
           f"{spread(gaps[1])} at the last; that of a Retrain stopped as early {spread(early[0])} and {spread(early[1])}.")


def said(found):
    """`+4.0 [+1.0, +7.0]`."""
    interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if found.n > 1 else ""
    return f"{found.mean:+.1f}{interval}"


def spread(values):
    """`2.4 ± 0.3`, without a spread in one seed."""
    sd = values.std()
    return f"{values.mean():.1f}" + ("" if np.isnan(sd) else f" ± {sd:.1f}")


QUESTIONS = (
    Question("12", "Can somebody who knows the method tell the unlearned model from one that never saw the client, image by "
             "image?", "12_accuracy", by_example),
    Question("13", "What happens to the unlearned model next?", "13_in_turn", afterwards),
)
