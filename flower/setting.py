"""What a run is of: the flat run-config that Flower hands to both sides, and the task that each makes of it."""
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

import lib
from lib.errors import Bad, nearest, short
from lib.files import runs_root
from lib.methods import needs, refuse, unlearn
from lib.profiles import load
from lib.values import misfit

ALIKE = "full", "retain", "forget"      # data by which two sides know that they have one task


def settings_of(config):
    """The flat settings of a run-config, with as many clients and rounds as it says.

    `settings` holds them as JSON; where that is empty they are those of a profile's `setting`: a name, or `02.name` where
    several notebooks have one of that name.
    """
    changes = {"clients": config["nodes"]}
    if config["rounds"]:
        changes |= {"rounds": config["rounds"], "unlearn_rounds": config["rounds"]}
    found = json.loads(config["settings"]) if config["settings"] else of_profile(config["profile"], config["setting"])
    return found | changes


def of_profile(profile, setting):
    """The flat settings of that name in a profile."""
    number, _, name = setting.rpartition(".")
    there = {}
    for book, settings in load(profile)["notebooks"].items():
        if number in ("", book):
            there = {**settings, **there}
    if name not in there:
        raise Bad(f"setting: no setting {setting!r} in {profile}; {nearest(name, there, 'setting')}")
    return there[name]


def methods_of(config):
    """`{name: arguments}` of the methods of a run-config."""
    try:
        methods = json.loads(config["methods"])
    except ValueError as error:
        raise Bad(f"methods: {config['methods']!r} is no JSON ({short(error)}); write {{\"NoT\": {{}}}}") from None
    if misfit(dict[str, dict], methods) or not methods:
        raise Bad(f"methods: {config['methods']!r} must be a map of methods and their arguments; write {{\"NoT\": {{}}}}")
    return methods


def folder(config):
    """Where the models of a run go: `out`, or `flower` below `FU_RUNS`."""
    return Path(config["out"] or runs_root() / "flower").expanduser().absolute()


def judge(config):
    """Bad where a run-config cannot be used, before anything starts."""
    task = whole_task(config)
    for name, arguments in methods_of(config).items():
        refuse(task, name, arguments)
        if arguments.get("score") == "shift":
            raise Bad(f"methods.{name}.score: shift takes the gradient of all forget data in one place, which no node "
                      "has; choose tis or forget")
    if config["min-clients"] > config["nodes"]:
        raise Bad(f"min-clients: {config['min-clients']} is more than the {config['nodes']} nodes; lower it")
    for key in ("timeout", "wait"):
        if not config[key] > 0:
            raise Bad(f"{key}: {config[key]} must be above 0; give it seconds")


def misses_nobody(task, name, arguments):
    """Whether the nodes of the targets may be gone before a request: whole clients leave, and it does without them."""
    return task.settings["forget"] == "clients" and "target" not in needs(name, **arguments)


def reads_history(name, arguments):
    return "history" in needs(name, **arguments)


def whole_task(config):
    """The task of a run-config with everybody's data, as in one process."""
    name = config["setting"].rpartition(".")[2]
    task = lib.make_task(settings_of(config), config["seed"], name)
    if task.settings["training"] != "fedavg":
        raise Bad(f"setting: {name} trains on the union of all data, which no node has; choose one of training: fedavg")
    return task


def request(task, trained, name, arguments):
    """The rounds of a method up to as many of recovery as the setting says; those of its own are not counted."""
    for now in unlearn(task, trained, name, **arguments):
        yield now
        if now.then.round >= task.settings["unlearn_rounds"]:
            return


def mark(task):
    """A word that is the same where two sides have the same data, split, net and recipe."""
    return json.dumps(task.fingerprint(*ALIKE), sort_keys=True)


def only(task, indices):
    """The task without all images but those of `indices`: the others are blank and of class 0, the test set is empty.

    Indices stay what they are, so that both sides speak of the same images.
    """
    keep = torch.zeros(len(task.x), dtype=torch.bool, device=task.x.device)
    keep[indices] = True
    x = torch.where(keep[:, None, None, None], task.x, torch.zeros_like(task.x))
    y = torch.where(keep, task.y, torch.zeros_like(task.y))
    marked = None if task.marked is None else task.marked & keep
    return replace(task, x=x, y=y, marked=marked, x_test=task.x_test[:0], y_test=task.y_test[:0])


@lru_cache(1)       # a node serves one run at a time, and many rounds of it
def of_client(text, client):
    """`(task, mark)` of one client, from a run-config as JSON: its own images, and nobody else's."""
    task = whole_task(json.loads(text))
    if not 0 <= client < len(task.clients):
        raise Bad(f"partition-id: {client} is no client of {len(task.clients)}; give the node one from 0 to "
                  f"{len(task.clients) - 1}")
    own = task.clients[client]
    return only(task, torch.cat([own.indices("full"), own.val])), mark(task)


def of_server(config):
    """`(task, mark)` of the server: the split and how much everybody has, and no image that a client trains on.

    It keeps the remaining clients' validation images, on which FUKD's server distils, and the test set.
    """
    task = whole_task(config)
    leaving = set(task.targets)
    kept = [client.val for k, client in enumerate(task.clients) if k not in leaving]
    bare = only(task, torch.cat([torch.empty(0, dtype=torch.long), *kept]))
    return replace(bare, x_test=task.x_test, y_test=task.y_test), mark(task)


def named(clients):
    """`client 0`, `clients 0, 2`."""
    return f"client{'s' * (len(clients) > 1)} {', '.join(map(str, clients))}"
