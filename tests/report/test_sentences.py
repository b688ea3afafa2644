"""Every number of the conclusions, the README's answers, docs/tables.md and RESULTS.md is in the committed rows, computed without lib."""
import re

import pytest
import sentences
from tables import table

import lib

FOUND = sentences.sentences()
PAIRS = [(sentence, sentences.checked(sentence)) for sentence in FOUND]


@pytest.mark.parametrize("source", ["README", "tables", "RESULTS", "notebooks"])
def test_every_number_is_in_the_rows(source):
    some = [(s, numbers) for s, numbers in PAIRS if s.source == source or source == "notebooks" and s.source[:2].isdigit()]
    off = [f"{s.text[:90]}: {said} is {value:.5g}" for s, numbers in some for said, value in numbers
           if not sentences.agrees(said, value)]
    assert not off, "\n".join(off)
    assert sum(len(numbers) for _, numbers in some) > 20


def test_no_sentence_with_an_interval_a_share_or_a_saving_goes_unread():
    """All but the lines of tables that have no number of ours."""
    unread = [s.text for s, numbers in PAIRS if not numbers and (not s.head or s.source == "README")]
    assert [text for text in unread if re.search(r"\[|±|\d\.\d", text) and "Not converged" not in text] == []


def test_every_kind_of_sentence_can_be_wrong():
    """One number of a sentence changed in its last digit but one: it no longer agrees."""
    for s, numbers in PAIRS:
        for said, value in numbers[:3]:
            step = 10.0 ** (1 - len(said.partition(".")[2]))
            if "e" not in said and sentences.agrees(said, value):
                assert not sentences.agrees(f"{float(said) + step:.{len(said.partition('.')[2])}f}", value)


@pytest.fixture
def said(tmp_path, monkeypatch):
    """The conclusions of a small table that lies in a folder of its own, as `Sentence`s."""
    df = table(4)
    (tmp_path / "results" / "reduced").mkdir(parents=True)
    df.to_csv(tmp_path / "results" / "reduced" / "02.csv", index=False)
    monkeypatch.setattr(sentences, "ROOT", tmp_path)
    sentences.rows.cache_clear()
    yield [sentences.Sentence("x", text, "reduced", "02", "a") for _, said in lib.conclude(df) for text in said]
    sentences.rows.cache_clear()


def wrong(sentence):
    return sum(not sentences.agrees(*pair) for pair in sentences.checked(sentence))


def test_conclusions_of_any_table_agree_with_its_rows(said):
    assert sum(len(sentences.checked(s)) for s in said) > 50 and not any(map(wrong, said))


@pytest.mark.parametrize("old, new", [
    ("NoT -23.50 [-25.55, ", "NoT -23.60 [-25.55, "),
    ("NoT -23.50 [-25.55, ", "NoT -23.50 [-25.65, "),
    ("stopped there (n = 4)", "stopped there (n = 3)"),
    ("ends 1.00 points", "ends 1.10 points"),
    ("NoT 50 ± 0 % (4 of 4 seeds)", "NoT 51 ± 0 % (4 of 4 seeds)"),
    ("NoT 50 ± 0 % (4 of 4 seeds)", "NoT 50 ± 0 % (3 of 4 seeds)"),
    ("Original 100.0 %", "Original 99.0 %"),
    ("off by 1.00; n = 4", "off by 1.20; n = 4")])
def test_intervals_savings_and_counts_are_checked(said, old, new):
    changed = [s._replace(text=s.text.replace(old, new)) for s in said if old in s.text]
    assert changed and all(wrong(s) for s in changed)
