"""The ClientApp: it hands a message to the client's worker, or works itself where the node has none.

A node is told by its `--node-config` who it is: `partition-id=0`, and `worker="PATH"` where one runs.
"""
import json

from flwr.clientapp import ClientApp

from flower import wire

app = ClientApp()


def answered(kind, message, context):
    """The reply to a message. Nothing here needs torch: with a worker this process lives for one message only."""
    config = json.dumps(dict(sorted(context.run_config.items())))
    client = int(context.node_config.get("partition-id", -1))
    data = wire.bytes_of(message)
    path = context.node_config.get("worker")
    if path:
        from flower.worker import ask
        back = ask(path, config, client, kind, data)
    else:
        from flower.node import answer
        back = answer(config, client, kind, data)
    return wire.reply(back, message)


@app.query("who")
def who(message, context):
    """Which client the node is, and of which task."""
    return answered("who", message, context)


@app.train()
def train(message, context):
    """Train on the client's own data, as the order in the message says."""
    return answered("order", message, context)


@app.query()
def query(message, context):
    """Answer a question about the client's own data, as TIS's curvature."""
    return answered("order", message, context)
