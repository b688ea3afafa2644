"""What is said when something cannot be used."""
import difflib
import reprlib

MANY = 40       # words a message lists at most
REPR = reprlib.Repr()       # a message quotes a value, and a value may be as large as a file
REPR.maxlevel, REPR.maxdict, REPR.maxlist, REPR.maxtuple = 3, 8, 12, 12
REPR.maxstring = REPR.maxlong = REPR.maxother = 80


class Bad(ValueError):
    """Input that cannot be used: one sentence that names the place, the mistake and the remedy."""


def nearest(word, words, what):
    """`nearest <what>: x`, or the list of what there is."""
    words = [str(w) for w in words]
    close = difflib.get_close_matches(str(word), words, 1, 0.5)
    if close:
        return f"nearest {what}: {close[0]}"
    more = f" and {len(words) - MANY} more" if len(words) > MANY else ""
    return f"{what}s: {', '.join(words[:MANY]) or 'none'}{more}"


def shown(value):
    """A value as a message quotes it: its repr on one line, shortened in the middle where it is long or deep."""
    text = " ".join(REPR.repr(value).split())
    return text if len(text) <= 200 else f"{text[:98]}...{text[-98:]}"


def bare(name):
    """A name as a message writes it, without quotes where it is a word."""
    return shown(name)[1:-1] if isinstance(name, str) else shown(name)


def short(error):
    """An exception in one line of at most 160 letters: its kind and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:157] + '...' if len(text) > 160 else text}"
