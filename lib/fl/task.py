"""One frozen object that knows clients, forget, retain and test data, the net, the recipe and all randomness."""
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, log2
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

from ..errors import Bad, shown
from ..registry import MODELS, taken
from ..settings import check, complete, entries
from ..values import Whole, misfit
from . import models
from .backdoor import add_trigger, poison
from .data import load, resized
from .partitions import divide, split_validation
from .precision import STORED, Bfloat16, judge
from .rng import generator

State = dict[str, Tensor]

CACHED = 2**21  # numbers of an activation that stay in the cache of a core or near it, by benchmarks/evaluation.py
FILLING = 2**28  # numbers of an activation that fill a GPU, where each launch costs and the largest may take 1 GiB

DATA_KEYS = ("size", "channels", "normalise", "test_share", "resplit", "n_train", "n_test")
RECIPE_KEYS = ("lr", "momentum", "weight_decay", "batch_size", "local_epochs", "optimizer", "clip", "flip", "crop",
               "keep_optimizer")


class Client(NamedTuple):
    """Index tensors into `task.x`: what the client keeps, what it wants forgotten, and its validation split.

    >>> Client(torch.tensor([0, 3]), torch.tensor([1]), torch.tensor([2])).indices("full")
    tensor([0, 1, 3])
    """
    retain: Tensor
    forget: Tensor
    val: Tensor

    def indices(self, which):
        """Its `full` training data, or `retain`, `forget` or `val` alone; sorted."""
        parts = [self.retain, self.forget] if which == "full" else [getattr(self, which)]
        return torch.cat(parts).sort().values


class Job(NamedTuple):
    """What one client trains on in one round; `client < 0` is the server itself, which sends nothing.

    labels: `[n]` or `[n, k]`, replaces `task.y[indices]`, or the `Call` by which the client makes them; steps: exactly
    so many minibatches in place of epochs; which: the name (or the `Call`) by which a client elsewhere finds the
    indices, None where there is none: change it with them.
    """
    client: int
    indices: Tensor
    labels: Tensor | tuple | None = None
    steps: int | None = None
    which: str | tuple | None = None


@dataclass(frozen=True)
class Recipe:
    """How a client trains. `crop`: pixels of zero padding before a random crop; `clip`: largest gradient norm.

    Adam uses `momentum` as its first and `beta2` as its second decay. patience: the rate falls tenfold,
    down to 1e-7, when the mean loss of `judged` steps has not improved for longer than so many times; None keeps it.
    """
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 64
    local_epochs: int = 1
    optimizer: str = "sgd"
    clip: float | None = None
    flip: bool = False
    crop: int = 0
    keep_optimizer: bool = False
    beta2: float = 0.999
    patience: int | None = None
    judged: int = 1


@dataclass(frozen=True, eq=False)
class Task:
    """Data, split, net and recipe of one setting at one seed. Build it with `make_task`.

    x `[N, C, H, W]` uint8 or float, y `[N]` long, both on `device`; `mean`, `std` are None for standardised floats.
    marked `[N]` bool: images that `inputs` gives the backdoor trigger, in pixels of value `white`; x stays clean,
    y holds the label they were given, y_true that of before; None without a backdoor. resize: the side to which images are resized in the batch, on the device; None
    where they are kept as they are needed. engine: where the clients work (see `lib.fl.engine`); None is in this process.
    """
    name: str
    settings: dict
    seed: int
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    class_names: tuple
    mean: tuple | None
    std: tuple | None
    clients: tuple
    recipe: Recipe
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    marked: Tensor | None = None
    white: float = 255
    poison_label: int | None = None
    engine: Callable | None = None
    resize: int | None = None
    y_true: Tensor | None = None

    @property
    def classes(self):
        return len(self.class_names)

    @property
    def targets(self):
        """Ids of the clients that have something to forget."""
        return tuple(k for k, c in enumerate(self.clients) if len(c.forget))

    @property
    def size(self):
        """Side in pixels of what the net sees."""
        return self.settings["input_size"] or self.side

    @property
    def side(self):
        """Side in pixels of the images before they are cropped."""
        return self.resize or self.x.shape[-1]

    # -- who trains on what ------------------------------------------------------------------------------------

    def jobs(self, which, round=None):
        """Jobs over the `full`, `retain`, `forget` or `val` data: one for each client that has any.

        round: leaves out clients that join the training (`full`) after it. With `training: union` one job holds all.
        """
        jobs = []
        for k, client in enumerate(self.clients):
            late = which == "full" and round is not None and round < self.joins(k)
            indices = client.indices(which)
            if len(indices) and not late:
                jobs.append(Job(k, indices, which=which))
        if self.settings["training"] == "union" and jobs:
            everything = torch.cat([job.indices for job in jobs])
            return [Job(0, everything.sort().values, which=which)]
        return jobs

    def job(self, client, which):
        """One client's job over the `full`, `retain`, `forget` or `val` data, empty where it has none."""
        if self.settings["training"] == "union":
            return Job(client, self.indices(which), which=which)
        return Job(client, self.clients[client].indices(which), which=which)

    def participants(self, which, phase, round):
        """The jobs of those that take part in a round: as `jobs(which, round)`, or those `drawn` of them.

        Whoever forgets or validates is not drawn: only the rounds over `full` and `retain`.
        """
        if self.everybody or which not in ("full", "retain"):
            return self.jobs(which, round)
        drawn = self.drawn(self.able(which, round), phase, round)
        return [self.job(k, which) for k in sorted(drawn)]

    @property
    def everybody(self):
        """Whether all clients take part in every round."""
        return self.settings["participation"] is None or self.settings["training"] == "union"

    def drawn(self, able, phase, round):
        """Of some clients' ids those that take part in a round: as many as `participation` says, a set.

        Phase and round decide an order of all clients, so without a client the next one comes in and nobody else
        changes.
        """
        if self.everybody:
            return set(able)
        wanted = self.settings["participation"]
        if isinstance(wanted, float):
            wanted = ceil(wanted * len(able))
        order = torch.randperm(len(self.clients), generator=self.rng("participants", phase, round)).tolist()
        return set([k for k in order if k in able][:wanted])

    def able(self, which, round):
        """Ids of the clients that have `full` or `retain` data and have joined by this round."""
        found = set()
        for k, client in enumerate(self.clients):
            count = len(client.retain) + (len(client.forget) if which == "full" else 0)
            late = which == "full" and round < self.joins(k)
            if count and not late:
                found.add(k)
        return found

    def joins(self, client):
        """The first round in which a client trains."""
        rounds = self.settings["joins"]
        return int(rounds.get(str(client), rounds.get(client, 1)))

    def indices(self, which):
        """All indices of the `full`, `retain`, `forget` or `val` data, sorted."""
        jobs = self.jobs(which)
        if not jobs:
            return torch.empty(0, dtype=torch.long)
        return torch.cat([job.indices for job in jobs]).sort().values

    def counts(self):
        """Training images of each class at each client, `[clients, classes]`."""
        labels = [self.y[client.indices("full")] for client in self.clients]
        return torch.stack([y.bincount(minlength=self.classes) for y in labels])

    # -- images ------------------------------------------------------------------------------------------------

    @cached_property
    def _affine(self):
        """`(scale, shift)` that normalise images of uint8, `[1, C, 1, 1]`."""
        mean = torch.tensor(self.mean, dtype=torch.float64).view(1, -1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float64).view(1, -1, 1, 1)
        scale = 1 / (255 * std)
        shift = -mean / std
        return scale.to(self.device, self.dtype), shift.to(self.device, self.dtype)

    def sized(self, x):
        """Raw images at the side they have before they are cropped."""
        return x if self.resize is None else resized(x, self.resize)

    def inputs(self, x, offsets=None, flips=None, marked=None, border=0):
        """Raw images `[n, C, H, W]` as the net sees them: cropped to `input_size`, normalised, in `dtype`.

        border: zeros around an image before it is cropped; offsets: `(rows, columns)` of each image's crop; None crops
        at the centre, as every evaluation does.
        flips `[n]` bool: mirrored images; marked `[n]` bool: images that get the trigger, at its fixed place after
        crop and flip, which would move it or cut it off.
        """
        x = self.sized(x.to(self.device))
        if border:
            x = pad(x, (border,) * 4)
        if self.size != x.shape[-1]:
            x = crop(x, centre(x, self.size) if offsets is None else offsets, self.size)
        if flips is not None:
            x = where_image(flips, x.flip(3), x)
        if marked is not None:
            x = where_image(marked, add_trigger(x, self.white), x)
        x = x.to(self.dtype)
        if self.mean is not None:
            scale, shift = self._affine
            x = x.mul_(scale).add_(shift)
        return x.contiguous(memory_format=self.layout)

    def batches(self, indices, size=512):
        """Yield `(x, y)` over `task.x[indices]` without augmentation."""
        for part in indices.to(self.device).split(size):
            yield self.inputs(self.x[part], marked=self.marks(part)), self.y[part]

    def marks(self, indices):
        """Which of `task.x[indices]` carry the trigger, for `inputs`; None without a backdoor."""
        return None if self.marked is None else self.marked[indices]

    # -- the net -----------------------------------------------------------------------------------------------

    @cached_property
    def layout(self):
        """The memory format of images and weights: the net's own, see `models.model`."""
        return models.LAYOUTS[MODELS.find(self.settings["model"], "model").layout]

    @cached_property
    def at_once(self):
        """How many images are evaluated at once; the numbers that come out do not depend on it.

        On a CPU the largest activation has at most CACHED numbers: what is larger leaves the cache, and its memory is
        asked of the system anew each time. On a GPU it has at most FILLING.
        """
        most, room = (512, CACHED) if self.device.type == "cpu" else (8192, FILLING)
        with torch.device("meta"):
            net = models.build(self.settings, self.x.shape[1], self.classes, self.size).eval()
            each = models.largest_activation(net, torch.zeros(1, self.x.shape[1], self.size, self.size))
        return min(most, max(32, 2 ** int(log2(room / max(each, 1)))))

    def build(self):
        """A freshly constructed net, on `device` and in `dtype`; random through torch's global generator."""
        net = models.build(self.settings, self.x.shape[1], self.classes, self.size)
        return net.to(self.device, self.dtype, memory_format=self.layout)

    def init(self, *name):
        """A fresh initialisation under a named seed: a fresh construction, never `reset_parameters`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng("init", *name).initial_seed())
            net = models.build(self.settings, self.x.shape[1], self.classes, self.size)  # on the CPU: same everywhere
        net = net.to(self.device, self.dtype)  # integer buffers keep their type
        return models.state_of(net)

    @cached_property
    def skeleton(self):
        """The net without memory, for whoever asks what it is made of."""
        with torch.device("meta"):
            return models.build(self.settings, self.x.shape[1], self.classes, self.size)

    @cached_property
    def model(self):
        """One scratch net; load a state before use."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    def set_precision(self):
        """Float32 products and convolutions as the setting `matmul` says; torch has one precision for all tasks of a
        process, and rounds a GPU's convolutions to TF32 where nobody forbids it."""
        wanted = self.settings["matmul"]
        if torch.get_float32_matmul_precision() != wanted:
            torch.set_float32_matmul_precision(wanted)
        torch.backends.cudnn.allow_tf32 = wanted == "high"

    def load(self, state):
        """The scratch net with `state` in it, in eval mode, in the precision of its weights (see `in_dtype`)."""
        self.set_precision()
        self.model.load_state_dict(state)
        return self.model.eval()

    def in_dtype(self, net):
        """The net as training and evaluation use it: in bfloat16 where the setting `dtype` says so, else itself."""
        return Bfloat16(net) if self.settings["dtype"] == "bfloat16" else net

    def frozen(self, state):
        """Another net with `state` in it, in eval mode, that does not train: a teacher beside the scratch net."""
        with torch.random.fork_rng(devices=[]):
            net = self.build()
        net.load_state_dict(state)
        return self.in_dtype(net.eval().requires_grad_(False))

    def rng(self, *name):
        """A generator that depends on the seed and the name alone: randomness is never a stream."""
        return generator(self.seed, *name)

    @cached_property
    def parameters(self):
        return models.count(self.model)

    @cached_property
    def flops(self):
        """FLOPs of one sample: `(forward, forward and backward)`."""
        return sample_flops(self.settings, self.x.shape[1], self.classes, self.size)

    # -- identity ----------------------------------------------------------------------------------------------

    @cached_property
    def _data_hash(self):
        tensors = [self.x, self.y, self.x_test, self.y_test]
        tensors += [t for t in (self.marked, self.y_true) if t is not None]
        digest = hashlib.sha256()
        for t in tensors:
            shape = (len(t), *self._hashed(t[:1]).shape[1:])
            digest.update(str((t.dtype, shape)).encode())
            for part in t.split(4096):      # in pieces: on a GPU a second copy of the images would be made here
                digest.update(self._hashed(part).numpy())
        return digest.hexdigest()

    def _hashed(self, part):
        """A piece of the data as a CPU keeps it, so that a key does not tell where images are resized."""
        part = part.cpu()
        return (self.sized(part) if part.dim() == 4 else part).contiguous()

    def fingerprint(self, *which):
        """What training on the `which` data depends on, as a plain dict; equal dicts mean equal results."""
        digest = hashlib.sha256(self._data_hash.encode())
        for name in which:
            for job in self.jobs(name):
                digest.update(f"{name} {job.client}".encode())
                digest.update(job.indices.cpu().numpy().tobytes())
        dtype = getattr(torch, self.settings["dtype"])
        found = {"data": digest.hexdigest(), "seed": self.seed, "dtype": str(dtype)}
        found["normalise"] = [self.mean, self.std]
        found["recipe"] = dict(sorted(vars(self.recipe).items()))
        found["options"] = options(self.settings)
        for key in ("model", "input_size", "training", "joins", "matmul", "participation"):
            found[key] = self.settings[key]
        return found

    def on_validation(self):
        """The same task with the clients' validation splits in place of the test set, to choose without test data."""
        val = self.indices("val")
        return replace(self, x_test=self.x[val], y_test=self.y[val])


def options(settings):
    """`{"model": {argument: value}, …}`: what the net, the data set and the partition of a setting are called with."""
    return {key: taken(known, settings) for key, known in entries(settings).items()}


def sample_flops(settings, channels, classes, size):
    """FLOPs of one sample, `(forward, forward and backward)`, counted in train mode on the meta device."""
    with torch.device("meta"):
        net = models.build(settings, channels, classes, size)
        x = torch.zeros(2, channels, size, size)  # two samples: BatchNorm cannot train on one
    with FlopCounterMode(display=False) as forward:
        out = net(x)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    both = forward.get_total_flops() + backward.get_total_flops()
    return forward.get_total_flops() / 2, both / 2


def crop(x, offsets, size):
    """Cut `size` x `size` windows out of `[n, C, H, W]` at per-image `(rows, columns)`: a view and one index."""
    windows = x.unfold(2, size, 1).unfold(3, size, 1)
    rows, columns = offsets
    images = torch.arange(len(x), device=x.device)
    return windows[images, :, rows.to(x.device), columns.to(x.device)]


def centre(x, size):
    """`(rows, columns)` of the crop of `size` in the middle of each image."""
    half = torch.full((len(x),), (x.shape[-1] - size) // 2, device=x.device)
    return half, half


def where_image(chosen, a, b):
    """Images of a `[n, C, H, W]` where `chosen` `[n]`, else those of b."""
    return torch.where(chosen.to(b.device)[:, None, None, None], a, b)


def _forget(settings, k, indices, y, rng):
    """Mask over `indices` of what client `k` wants forgotten."""
    rule = settings["forget"]
    if rule == "clients":
        return torch.full((len(indices),), k in settings["targets"])
    if rule == "class":
        return y[indices] == settings["forget_class"]
    count = round(settings["forget_share"] * len(indices))
    chosen = torch.randperm(len(indices), generator=rng)[:count]
    mask = torch.zeros(len(indices), dtype=torch.bool)
    mask[chosen] = True
    return mask


def _judge_net(settings, channels, side, clients, classes):
    """Bad where the net cannot train on the smallest minibatch."""
    size = settings["input_size"] or side
    held = [len(client.indices(which)) for client in clients for which in ("full", "retain")]
    smallest = 1 if 1 in held or settings["batch_size"] == 1 else 2
    if settings["training"] == "union" and settings["batch_size"] > 1:
        smallest = 2
    models.try_out(settings, channels, classes, size, smallest)


def device_of(wanted):
    """The device of a setting: `auto` is a GPU where there is one."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise Bad("device: torch finds no GPU with a driver here; set device: auto or device: cpu")
    return ("cuda" if there else "cpu") if wanted == "auto" else wanted


def judge_data(s, height, width, classes):
    """Refuse settings that do not go together with the sides of the images and the number of classes."""
    if height != width:
        raise Bad(f"dataset: {s['dataset']} has images of {height}x{width} pixels; set size, which makes squares of them")
    if s["input_size"] and s["input_size"] > width:
        raise Bad(f"input_size: {s['input_size']} is above the {width} pixels of the images; lower it, or set size")
    for key in ("forget_class", "poison_label"):
        if s[key] is not None and s[key] >= classes:
            raise Bad(f"{key}: {s[key]} is no class; name 0 to {classes - 1}")


NOTHING_CHOSEN = {
    "clients": "targets: {targets} hold no images; name other clients, or use more images",
    "class": "forget_class: no client trains on an image of class {forget_class}; name another, or use more images",
    "share": "forget_share: {forget_share} of a client's images is less than one; raise it, or use more images"}


def judge_clients(s, clients):
    """Refuse settings by which nothing is forgotten, nothing is kept, or nobody trains in round 1."""
    if not any(len(client.forget) for client in clients):
        raise Bad(NOTHING_CHOSEN[s["forget"]].format(**s))
    if not any(len(client.retain) for client in clients):
        raise Bad(f"forget: {s['forget']} leaves nothing to train on; ask for less to be forgotten")
    first = [client for k, client in enumerate(clients) if s["joins"].get(k, 1) == 1]
    if not any(len(client.indices("full")) for client in first):
        raise Bad("joins: nobody who takes part in round 1 has images; let another client take part from the start")


def make_task(settings, seed, name="task"):
    """The task of one setting at one seed. `settings`: flat keys, see `lib.settings.KEYS`; missing ones get defaults.

    Raises Bad where settings, data and machine do not go together, and where nothing is to be forgotten or kept.
    """
    check({name: settings}, "settings")
    if reason := misfit(Whole, seed):
        raise Bad(f"seeds: {shown(seed)} {reason}")
    s = complete(settings)
    torch.set_num_threads(s["threads"])
    torch.set_flush_denormal(True)  # training on into the overfit regime is otherwise 1.6 times slower
    device = device_of(s["device"])
    chosen = options(s)
    split = seed if s["split_seed"] is None else s["split_seed"]
    data = load(s["dataset"], seed=split, later=device == "cuda", **chosen["dataset"] | {k: s[k] for k in DATA_KEYS})
    x, y = data.x, data.y
    height, width = (data.resize, data.resize) if data.resize else x.shape[2:]
    judge_data(s, height, width, len(data.classes))
    parts = divide(s["partition"], y, s["clients"], generator(split, "partition"), **chosen["partition"])
    clients = []
    for k, part in enumerate(parts):
        train, val = split_validation(part, s["val_share"], generator(split, "validation", k))
        mask = _forget(s, k, train, y, generator(split, "forget", k))
        clients.append(Client(train[~mask], train[mask], val))
    judge_clients(s, clients)
    marked, y_true, label = None, None, s["poison_label"]
    if label is not None:
        y_true = y.to(device)
        marked, y = poison(s, y, clients, split)
        marked = marked.to(device)
    _judge_net(s, x.shape[1], width, clients, len(data.classes))
    task = Task(name, s, seed, x.to(device), y.to(device), data.x_test.to(device), data.y_test.to(device),
                tuple(data.classes), data.mean, data.std, tuple(clients), Recipe(**{k: s[k] for k in RECIPE_KEYS}),
                torch.device(device), STORED[s["dtype"]], marked, data.white, label, resize=data.resize, y_true=y_true)
    if s["dtype"] == "bfloat16":
        judge(task)
    return task


