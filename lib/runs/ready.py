"""Before anything trains: what cannot work on a task is refused, in one sentence."""
from dataclasses import replace
from itertools import pairwise

import torch

from .. import methods
from ..errors import Bad, short
from ..fl.batches import bounds
from ..fl.task import Client
from ..methods.trained import Trained
from ..metrics import own

FEW = 8     # images of each client in a rehearsal


def refuse(task):
    """Bad where the net, a method or a metric that the settings name cannot work on the task."""
    s = task.settings
    judge_net(task)
    for key in ("methods", "ablations"):
        refuse_methods(task, s[key])
    for f in own(s["metrics"]):
        rehearse_metric(task, f)


def refuse_methods(task, chosen):
    """Bad where one of `{method or method/label: arguments}` cannot work on the task."""
    for name, hp in chosen.items():
        base = name.split("/")[0]
        methods.refuse(task, base, hp)
        f = methods.find(base)
        if not f.__module__.startswith("lib."):
            rehearse_method(task, f, hp)


# ---------------------------------------------------------------- the net

def judge_net(task):
    """Bad where the net cannot train on the smallest batch there will be; tried without memory or arithmetic."""
    net = task.skeleton.train()
    batch = smallest_batch(task)
    shape = task.x.shape[1], task.size, task.size
    name = f"model {task.settings['model']}"
    try:
        found = net(torch.zeros(batch, *shape, device="meta"))
    except Exception as error:      # whatever is wrong with a net of the user's
        raise Bad(f"{name}: it cannot train on {batch} images {[*shape]} ({short(error)}); "
                  "choose another model, size or batch_size") from error
    if not isinstance(found, torch.Tensor) or found.shape != (batch, task.classes):
        given = [*found.shape] if isinstance(found, torch.Tensor) else type(found).__name__
        raise Bad(f"{name}: it gives {given} for {batch} images of {task.classes} classes; "
                  f"return logits {[batch, task.classes]}")
    for parameter, p in net.named_parameters():
        if not p.numel():
            raise Bad(f"{name}: images {[*shape]} are too small, {parameter} has no entries; choose another model or size")


def smallest_batch(task):
    """The number of images in the smallest minibatch of training."""
    sizes = {len(job.indices) for which in ("full", "retain") for job in task.jobs(which)}
    cuts = [bounds(n, task.recipe.batch_size) for n in sizes]
    return min(b - a for some in cuts for a, b in pairwise(some))


# ---------------------------------------------------------------- parts of one's own

def few(task):
    """The task with few images of each client, on which anything is quick."""
    clients = tuple(Client(*(part[:FEW] for part in client)) for client in task.clients)
    return replace(task, clients=clients, x_test=task.x_test[:FEW], y_test=task.y_test[:FEW])


def outcome(f, *args, **kw):
    """What a function of the user's gives on few images and an untrained net, or the Bad that it ends in.

    Any other error may come from their being few and untrained: None, and the run itself will tell.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return f(*args, **kw)
    except Bad as error:
        return error
    except Exception:
        return None


def rehearse_method(task, f, hp):
    """Bad where the first thing that a method of one's own yields is no `Round`."""
    if "history" in f.needs:
        return
    small = few(task)
    state = small.init("train")
    found = outcome(next, methods.rounds_of(f, small, Trained(state, dict(state), None, []), hp))
    if isinstance(found, Bad) and str(found).endswith(methods.REMEDY):
        raise found


def rehearse_metric(task, f):
    """Bad where a metric of one's own gives something other than a number."""
    small = few(task)
    found = outcome(f, small, small.init("train"))
    if isinstance(found, (str, bytes, dict, list, tuple)):
        raise Bad(f"metric {f.name}: it gives {type(found).__name__}, not a number; return a float")
