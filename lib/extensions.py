"""Parts of one's own: files and modules that register methods, nets, data sets, … before any setting is judged."""
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from .errors import Bad, short
from .files import ROOT

VARIABLE = "FU_EXTENSIONS"      # what a process hands on to those it starts, joined as in PATH


def resolved(names, folder, source):
    """The names that other processes understand: absolute paths of files, and modules by their dotted names.

    A file is looked for in `folder`, then in the repository.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise Bad(f"{source}: extensions: {names!r} must be a list of files and modules, as [my_parts.py, package.module]")
    return [_file(name, folder, source) if _is_file(name) else name for name in names]


def _is_file(name):
    return name.endswith(".py") or os.sep in name


def _file(name, folder, source):
    for base in (Path(folder), ROOT):
        path = (base / Path(name).expanduser()).resolve()
        if path.is_file():
            return str(path)
    raise Bad(f"{source}: extensions: there is no file {name} in {folder} or in the repository; check the path")


def extend(*names):
    """Import files and modules that register parts of one's own; a second time it does nothing."""
    for name in names:
        try:
            _import_file(Path(name)) if _is_file(name) else importlib.import_module(name)
        except Bad as error:
            raise Bad(f"extensions: {name}: {error}") from None
        except (Exception, SystemExit) as error:      # whatever is wrong with a file of the user's
            raise Bad(f"extensions: {name} cannot be imported ({short(error)}); mend or remove it") from error


def _import_file(path):
    """The module of a file, known by the file's name without its ending."""
    path = path.expanduser().resolve()
    there = sys.modules.get(path.stem)
    if there is not None:
        if getattr(there, "__file__", None) == str(path):
            return there
        raise Bad(f"there is another module called {path.stem}; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def sources(names):
    """The texts of extensions, for whoever does a job again when one of them changes."""
    files = [name if _is_file(name) else importlib.util.find_spec(name).origin for name in names]
    return [Path(file).read_text(encoding="utf-8") for file in files]


def honour():
    """Import what the environment variable FU_EXTENSIONS names."""
    extend(*filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)))


def hand_on(names):
    """Have the processes started from here import the extensions before they judge a setting."""
    if names:
        os.environ[VARIABLE] = os.pathsep.join(names)
    else:
        os.environ.pop(VARIABLE, None)
