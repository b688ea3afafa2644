"""Clean the stores: list what nobody needs any more, with sizes, and delete it when told to."""
from lib.files import ROOT, runs_root
from lib.profiles import load


def clean(profile=None, yes=False):
    """Go through the stores of all profiles under runs/; asks before it deletes, unless `yes`. Returns 0.

    profile: one that is not in params/, whose store is to be looked at, too.
    """
    from lib.runs.clean import described, remove, waste     # torch: only where it is needed
    profiles = known_profiles(profile)
    for store in sorted(runs_root().glob("*/store")):
        name = store.parent.name
        if name not in [p["profile"] for p in profiles]:
            print(f"{store}: left alone, there is no profile {name}; name its file by --profile")
            continue
        found = waste(store, profiles)
        if not found:
            print(f"{store}: nothing to clean")
            continue
        print(f"{store}:\n{described(found, store)}")
        if yes or agreed("Delete these? [y/N] "):
            print(f"{remove(found, store) / 1e6:.1f} MB freed")
    return 0


def known_profiles(other=None):
    """The profiles of params/, loaded, and another one."""
    names = [path.stem for path in sorted(ROOT.glob("params/*.yaml"))]
    if other and other not in names:
        names.append(other)
    return [load(name) for name in names]


def agreed(question):
    """Whether someone answers yes; nobody there is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
