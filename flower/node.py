"""What a client does with a message: bytes in, bytes out, from its own part of the data."""
from lib.errors import Bad
from lib.fl.messages import answered, packed, unpacked

from .setting import of_client


def answer(config, client, kind, data):
    """The reply to a message of a `kind` of `client_app`; config: the run-config as JSON. What is Bad comes back as its
    sentence, so that the server can say it."""
    try:
        task, mark = of_client(config, client)
        if kind == "who":
            return packed({"client": client, "mark": mark})
        asked = unpacked(data)["client"]
        if asked != client:
            raise Bad(f"partition-id: client {client} got what is client {asked}'s; give every node another")
        return answered(task, data)
    except Bad as error:
        return packed({"bad": str(error)})
