"""A notebook without what Jupyter adds beside its outputs, for git; with the standard library alone.

git config filter.notebook.clean "python3 workflow/tidy.py"     # once in a clone; .gitattributes names the filter
"""
import json
import sys

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}
KEPT = ("tags", "collapsed", "editable")        # of a cell's metadata


def cell_metadata(found):
    """What is kept of a cell's metadata."""
    return {key: value for key, value in found.items() if key in KEPT}


def tidy(nb):
    """A notebook (plain JSON) with its sources and outputs as they are, and the metadata that all notebooks here have."""
    cells = [cell | {"metadata": cell_metadata(cell["metadata"])} for cell in nb["cells"]]
    return nb | {"cells": cells, "metadata": KERNEL}


def main():
    text = sys.stdin.read()
    try:
        made = tidy(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):   # no notebook, or one in the middle of a merge
        sys.stdout.write(text)
    else:
        sys.stdout.write(json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    main()
