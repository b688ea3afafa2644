"""A Flower grid in this process: messages are packed to protobuf bytes and back, and nodes answer when they are asked."""
import json
import tomllib
from functools import lru_cache

import yaml
from conftest import TINY
from flwr.app import Context, Message, RecordDict
from flwr.app.error import Error
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as Proto
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from toy import ROOT

from flower import node, setting
from flower.client_app import app

SETTINGS = {"partition": "dirichlet", "beta": 1.0, "min_size": 8, "val_share": 0.1, "history": "all"}
DEFAULTS = tomllib.loads((ROOT / "flower/pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def config_of(folder, methods, settings=None, **changes):
    """A run-config over a tiny setting, whose profile and results are in a folder."""
    profile = folder / "tiny.yaml"
    profile.write_text(yaml.safe_dump({"seeds": [0], "notebooks": {"01": {"tiny": TINY | SETTINGS | (settings or {})}}}))
    given = {"profile": str(profile), "setting": "tiny", "nodes": 3, "rounds": 2, "methods": json.dumps(methods),
             "out": str(folder / "out"), "timeout": 1.0, "wait": 1.0}
    return DEFAULTS | given | changes


def remember_tasks(monkeypatch):
    """Here one process is all nodes, and keeps the tasks of all."""
    monkeypatch.setattr(node, "of_client", lru_cache(None)(setting.of_client.__wrapped__))


def carried(message):
    """A message as it comes out at the other end, and its bytes."""
    data = message_to_proto(message).SerializeToString()
    return message_from_proto(Proto.FromString(data)), len(data)


class Nodes(Grid):
    """Nodes 10, 11, … of clients 0, 1, ….

    spoil: `{client: f(message, reply) -> a reply, or None for none}`, once it is more than introduced; bytes: of all
    messages there and back; asked: what each client was sent, as `(client, message type)`.
    """

    def __init__(self, config, clients=3):
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1       # as a ServerApp's process has them
        self.config = config
        self.where = {10 + k: k for k in range(clients)}
        self.spoil = {}
        self.bytes = 0
        self.asked = []
        self.waiting = {}

    def set_run(self, run):
        raise NotImplementedError

    run = property(set_run)
    create_message = send_and_receive = set_run

    def get_node_ids(self):
        return list(self.where)

    def push_messages(self, messages):
        return [self.push(message) for message in messages]

    def push(self, message):
        node = message.metadata.dst_node_id
        if node not in self.where:
            return None
        number = f"m{len(self.asked)}"
        message.metadata.__dict__["_message_id"] = number
        self.waiting[number], size = carried(message)
        self.bytes += size
        self.asked.append((self.where[node], message.metadata.message_type))
        return number

    def pull_messages(self, ids):
        replies = [self.answer(self.waiting.pop(number)) for number in ids if number in self.waiting]
        return [self.back(reply) for reply in replies if reply]

    def back(self, reply):
        reply, size = carried(reply)
        self.bytes += size
        return reply

    def answer(self, message):
        node = message.metadata.dst_node_id
        if node not in self.where:
            return None
        client = self.where[node]
        context = Context(1, node, {"partition-id": client}, RecordDict(), dict(self.config))
        try:
            reply = app(message, context)
        except Exception as error:      # as `flwr-clientapp` does
            reply = Message(Error(1, f"{type(error)}:<'{error}'>"), reply_to=message)
        spoil = self.spoil.get(client)
        if spoil and message.metadata.message_type != "query.who":
            return spoil(message, reply)
        return reply
