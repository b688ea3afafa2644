"""What is said when something cannot be used."""
import difflib


class Bad(ValueError):
    """Input that cannot be used: one sentence that names the place, the mistake and the remedy."""


def nearest(word, words, what):
    """`nearest <what>: x`, or the list of what there is."""
    words = [str(w) for w in words]
    close = difflib.get_close_matches(str(word), words, 1, 0.5)
    return f"nearest {what}: {close[0]}" if close else f"{what}s: {', '.join(words) or 'none'}"


def short(error):
    """An exception in one line of at most 160 letters: its kind and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:157] + '...' if len(text) > 160 else text}"
