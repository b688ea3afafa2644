"""A checksum beside every table and executed notebook, in the format of sha256sum: a damaged file is not believed."""
from .errors import Bad
from .files import sha256, write


def beside(path):
    """Where the checksums of `02.csv`, `02.claims.csv` and so on are: `02.sha256` in the same folder."""
    return path.with_name(f"{path.name.split('.')[0]}.sha256")


def seal(*paths):
    """Write the checksums of files that were just written."""
    for path in paths:
        enter(path, sha256(path))


def enter(path, digest):
    """Write one checksum, of a file that may still have another name; those of the files beside it stay."""
    sums = read(beside(path)) if beside(path).exists() else {}
    sums[path.name] = digest
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    write(beside(path), "".join(lines))


def read(path):
    """`{name: SHA-256}` of a file of checksums; what is no line of one is left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [line.split("  ", 1) for line in lines]
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def verify(path, remedy):
    """The path; Bad where the file is not what was written, or nobody says what that was. remedy: what to do then."""
    if not beside(path).exists() or path.name not in (sums := read(beside(path))):
        raise Bad(f"{path}: there is no checksum of it in {beside(path).name}; {remedy}")
    if sha256(path) != sums[path.name]:
        raise Bad(f"{path}: damaged or edited, since it does not fit its checksum in {beside(path).name}; {remedy}")
    return path
