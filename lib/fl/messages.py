"""Orders and replies as bytes: plain values as JSON, tensors as safetensors. An engine elsewhere sends these.

Weights of convolutions keep the order in memory that they have: a sum over them adds in that order, and sums of floats
differ in their last bits with it.

    server: order_bytes(state, job, order)      client: answered(task, data) -> bytes      server: reply_of(job, data)
"""
import json
from dataclasses import asdict

import torch
from safetensors.torch import load, save

from ..errors import Bad
from .engine import Call, Order, Reply, part_of
from .rounds import in_process
from .task import Job, Recipe

RECORDS = {kind.__name__: kind for kind in (Call, Order)}


def plain(value, tensors):
    """A value as JSON can hold it; its tensors go to the list `tensors` and leave their numbers behind.

    Bad where a function stands in the place of a Call.
    """
    if torch.is_tensor(value):
        tensors.append(value)
        kind = "channels last" if channels_last(value) else "tensor"
        return {kind: len(tensors) - 1}
    if isinstance(value, Recipe):
        return {"recipe": asdict(value)}
    for name, kind in RECORDS.items():
        if isinstance(value, kind):
            return {name: plain(value._asdict(), tensors)}
    if isinstance(value, dict):
        return {"map": [[key, plain(one, tensors)] for key, one in value.items()]}
    if isinstance(value, (list, tuple)):
        return [plain(one, tensors) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise Bad(f"engine: {value!r} cannot be sent to a client elsewhere; register it with @lib.loss, @lib.action or "
              "@lib.labels and give its lib.call")


def whole(value, tensors):
    """The inverse of `plain`; a tuple comes back as a list."""
    if isinstance(value, list):
        return [whole(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    if kind == "tensor":
        return tensors[str(held)]
    if kind == "channels last":
        return tensors[str(held)].contiguous(memory_format=torch.channels_last)
    if kind == "recipe":
        return Recipe(**held)
    if kind == "map":
        return {key: whole(one, tensors) for key, one in held}
    return RECORDS[kind](**whole(held, tensors))


def channels_last(t):
    """Whether a tensor lies in memory with its channels last, and no other way round."""
    return t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()


def packed(value):
    """A value of plain values, tensors, Calls and Orders as bytes."""
    tensors = []
    text = json.dumps(plain(value, tensors))
    held = {str(i): t.detach().cpu().clone(memory_format=torch.contiguous_format) for i, t in enumerate(tensors)}
    return save(held, {"plain": text})


def unpacked(data, device="cpu"):
    """The value of `packed`, its tensors on a device."""
    length = int.from_bytes(data[:8], "little")         # safetensors: a header of JSON, then the tensors
    text = json.loads(data[8:8 + length])["__metadata__"]["plain"]
    tensors = {name: t.to(device) for name, t in load(data).items()}
    return whole(json.loads(text), tensors)


def order_bytes(state, job, order):
    """One client's part of a round: the state, the order, and its job without what the client has itself."""
    indices = job.indices if job.which is None else None
    return packed({"state": state, "order": order, "client": job.client, "which": job.which, "indices": indices,
                   "labels": job.labels, "steps": job.steps})


def answered(task, data):
    """What a client does with `order_bytes`, and sends back; `task` knows its own data alone, or everybody's."""
    sent = unpacked(data, task.device)
    order, client, which = sent["order"], sent["client"], sent["which"]
    number = order.round if isinstance(order, Order) else None
    indices = sent["indices"]
    if which is not None:
        indices = part_of(task, which, client, number)
    job = Job(client, indices.cpu(), sent["labels"], sent["steps"], which)
    [reply] = in_process(task, sent["state"], [job], order)
    return packed({"seen": reply.seen, "state": reply.state, "extra": reply.extra})


def reply_of(job, data, device="cpu"):
    """The `Reply` that came back as bytes."""
    sent = unpacked(data, device)
    return Reply(job, sent["seen"], sent["state"], sent["extra"])
