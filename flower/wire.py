"""Orders and replies in Flower's messages: one array of bytes, which Flower sends in pieces where it is large."""
from flwr.app import Array, ArrayRecord, Message, RecordDict

KIND = "safetensors"


def content(data):
    """Bytes as what a message holds."""
    array = Array("uint8", (len(data),), KIND, data)
    return RecordDict({"body": ArrayRecord({"bytes": array})})


def message(data, node, kind, seconds, group):
    """A message to a node, `query.who`, `train` or `query`, that is worth nothing after so many seconds."""
    return Message(content(data), node, kind, ttl=seconds, group_id=group)


def reply(data, to):
    """The answer to a message."""
    return Message(content(data), reply_to=to)


def bytes_of(message):
    """What a message holds."""
    return message.content["body"]["bytes"].data
