"""The pages of a profile's run: an index that says what is done and what came out, and one page a notebook."""
from collections import Counter

from lib.files import runs_root, write

from .facts import facts, failure
from .jobs import notebook
from .page import css, render, template
from .safe import POLICY, cleaned

KEY = "key"             # the tag of the cell whose table stands on the index
ORDER = ("holds in every seed", "mixed", "fails in every seed", "not testable at this scale")
CLASS = {"holds in every seed": "holds", "mixed": "mixed", "fails in every seed": "fails"}
WORDS = {"holds in every seed": "hold", "mixed": "mixed", "fails in every seed": "fail", "not testable at this scale": "not testable here"}


def index(profile):
    """Write runs/<profile>/index.html and the page of every notebook that has run; returns {number: state}."""
    name = profile["profile"]
    all_facts = [facts(name, number) for number in sorted(profile["notebooks"]) if notebook(number)]
    with_page = [each for each in all_facts if each.page]
    for each in with_page:
        render(name, each, with_page)
    html = template("index.html.j2").render(
        policy=POLICY, css=css(), profile=name, seeds=profile["seeds"], notebooks=all_facts, total=total(all_facts),
        words_of=words_of, css_class=CLASS.get, key_table=key_table, failure=failure)
    write(runs_root() / name / "index.html", html)
    found = {each.number: each.state for each in all_facts}
    return {number: found.get(number, "no notebook yet") for number in profile["notebooks"]}


def total(all_facts):
    """What the first line of the index counts, over all notebooks."""
    verdicts = Counter()
    for each in all_facts:
        verdicts += each.verdicts
    return {"done": sum(each.state == "done" for each in all_facts), "of": len(all_facts), "verdicts": verdicts,
            "seconds": sum(each.seconds or 0 for each in all_facts)}


def words_of(verdicts):
    """`[(class, "3 hold"), …]` of `{verdict: count}`, in order."""
    return [(CLASS.get(verdict, "quiet"), f"{verdicts[verdict]} {WORDS[verdict]}") for verdict in ORDER if verdicts[verdict]]


def key_table(each):
    """The HTML of the table in the cell that a notebook has tagged `key`; empty where there is none."""
    import nbformat

    if each.state != "done":
        return ""
    for cell in nbformat.read(each.shown, as_version=4).cells:
        if KEY in cell.metadata.get("tags", []):
            tables = [o["data"]["text/html"] for o in cell.outputs if "<table" in o.get("data", {}).get("text/html", "")]
            return cleaned(tables[0]) if tables else ""
    return ""
