"""A Flower grid in this process: messages are packed to protobuf bytes and back, and nodes answer when they are asked."""
from flwr.app import Context, RecordDict
from flwr.app.error import Error
from flwr.app.message import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as Proto
from flwr.serverapp.grid import Grid
from flwr.supercore.task_identity import TaskIdentity

from flower.client_app import app


def carried(message):
    """A message as it comes out at the other end."""
    return message_from_proto(Proto.FromString(message_to_proto(message).SerializeToString()))


class Nodes(Grid):
    """Nodes 10, 11, … of clients 0, 1, …; bytes: of all messages; spoil: `{client: f(message, reply) -> reply | None}`."""

    def __init__(self, config, clients):
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1       # as a ServerApp's process has them
        self.config = config
        self.where = {10 + k: k for k in range(clients)}
        self.spoil = {}
        self.bytes = 0
        self.pushed = []
        self.waiting = {}

    def set_run(self, run):
        raise NotImplementedError

    run = property(set_run)
    create_message = send_and_receive = set_run

    def get_node_ids(self):
        return list(self.where)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            known = message.metadata.dst_node_id in self.where
            number = f"m{len(self.pushed)}"
            message.metadata.__dict__["_message_id"] = number
            self.pushed.append(self.sent(message))
            if known:
                self.waiting[number] = self.pushed[-1]
            ids.append(number if known else None)
        return ids

    def pull_messages(self, ids):
        found = []
        for number in ids:
            message = self.waiting.pop(number, None)
            reply = message and self.answer(message)
            if reply:
                found.append(self.sent(reply))
        return found

    def sent(self, message):
        self.bytes += len(message_to_proto(message).SerializeToString())
        return carried(message)

    def answer(self, message):
        node = message.metadata.dst_node_id
        client = self.where.get(node)
        if client is None:
            return None
        context = Context(1, node, {"partition-id": client}, RecordDict(), dict(self.config))
        try:
            reply = app(message, context)
        except Exception as error:
            reply = Message(Error(1, str(error)), reply_to=message)
        spoil = self.spoil.get(client)
        if spoil and message.metadata.message_type != "query.who":
            return spoil(message, reply)
        return reply
