"""The engine whose clients are Flower's nodes: an order goes to each, replies come back in the order of the jobs.

A client that leaves, is late or answers what cannot be used is lost for the round. The round goes on with the others,
or ends in one sentence, as `least` says; it never waits longer than `seconds`.
"""
import sys
import time

from lib.errors import Bad, short
from lib.fl.engine import Call, Order
from lib.fl.finite import finite
from lib.fl.messages import order_bytes, reply_of, unpacked

from . import wire
from .setting import named

POLL = 0.1          # seconds between two looks for replies
LOOK = 1.0          # seconds between two looks at who is there


def say(sentence):
    print(sentence, file=sys.stderr, flush=True)


class Federation:
    """The nodes of a grid as an engine, see `lib.fl.engine`.

    seconds: that a round may take; least: clients that must answer in a round, 0 for all that are asked; mark: of the
    server's task, see `setting.mark`. log: a dict a round, with what it took; lost: a sentence for each client that was
    lost in a round.
    """

    def __init__(self, grid, mark, seconds=120.0, least=0, say=say):
        self.grid, self.mark, self.seconds, self.least, self.say = grid, mark, seconds, least, say
        self.nodes = {}         # client: node
        self.strangers = {}     # node: why it is no client of ours, and is not asked again
        self.silent = []        # why nodes have not said who they are
        self.log = []
        self.lost = []

    def __reduce__(self):
        return "Federation"     # for keys of the store: where the clients work changes no number

    # -- who is there ------------------------------------------------------------------------------------------

    def there(self):
        """Ids of the nodes that the SuperLink knows as alive."""
        return set(self.asked(self.grid.get_node_ids))

    def asked(self, f, *arguments):
        """What the grid answers; Bad where the SuperLink does not, or knows nothing of this run any more."""
        try:
            return f(*arguments)
        except Exception as error:
            raise Bad(f"SuperLink: it does not answer, or has been started anew and has forgotten this run "
                      f"({short(error)}); see its log, and run again") from error

    def greet(self):
        """Ask nodes that have come who they are; forget those that have gone."""
        there = self.there()
        self.nodes = {client: node for client, node in self.nodes.items() if node in there}
        new = there - set(self.nodes.values()) - set(self.strangers)
        messages = {node: wire.message(b"?", node, "query.who", self.seconds, "who") for node in new}
        answers, silent = self.exchange(messages)
        self.silent = [f"a node {reason}" for reason in silent.values()]
        for node, data in answers.items():
            reason = self.introduce(node, data)
            if reason:
                self.strangers[node] = reason
                self.say(reason)

    def introduce(self, node, data):
        """Take a node for the client that it says it is, or say why not."""
        try:
            answer = unpacked(data)
            known = "bad" in answer or answer["client"] >= 0 and answer["mark"]
        except Exception:
            known = False
        if not known:
            return "a node is none of this app: it does not say who it is; give it another federation"
        if "bad" in answer:
            return f"a node cannot make the task: {answer['bad']}"
        client = answer["client"]
        if answer["mark"] != self.mark:
            return (f"client {client}: its node makes another task than the server: its data or its version of this "
                    "repository differ; install the same on both")
        if client in self.nodes:
            return f"partition-id: two nodes say that they are client {client}; give every node another"
        self.nodes[client] = node
        return None

    def meet(self, clients, seconds):
        """Wait until so many clients' nodes are there; Bad where they are not after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            self.greet()
            missing = sorted(set(range(clients)) - set(self.nodes))
            if not missing:
                return
            if time.monotonic() > end:
                why = "; ".join([*self.strangers.values(), *self.silent])
                raise Bad(f"nodes: no node of {named(missing)} has come within {seconds:g} s" + (f" ({why})" if why else "")
                          + "; start them, and run again")
            time.sleep(LOOK / 2)

    def wait_for_leave(self, clients, seconds):
        """Wait until the nodes of some clients have gone; Bad where they are still there after so many seconds."""
        end = time.monotonic() + seconds
        while staying := [k for k in clients if self.nodes.get(k) in self.there()]:
            if time.monotonic() > end:
                raise Bad(f"nodes: {named(staying)} should have left before the request and is still there after "
                          f"{seconds:g} s; stop its node, or set target-leaves=false")
            time.sleep(LOOK / 2)
        for k in clients:
            self.nodes.pop(k, None)

    # -- a round -----------------------------------------------------------------------------------------------

    def __call__(self, task, state, jobs, order):
        begin = time.monotonic()
        training = isinstance(order, Order)
        place = f"{order.phase}, round {order.round}" if training else f"the question {order.name!r}"
        self.greet()
        sent, lost = {}, {}
        for i, job in enumerate(jobs):
            node = self.nodes.get(job.client)
            if node is None:
                lost[i] = "has no node"
            else:
                sent[i] = wire.message(order_bytes(state, job, order), node, "train" if training else "query",
                                       self.seconds, place)
        out = sum(len(wire.bytes_of(message)) for message in sent.values())
        answers, silent = self.exchange(sent)
        lost |= silent
        replies = {}
        for i, data in answers.items():
            found = judged(task, jobs[i], state, order, data)
            if isinstance(found, str):
                lost[i] = found
            else:
                replies[i] = found
        self.judge(place, jobs, lost)
        gone = {jobs[i].client for i in lost}
        self.log.append({"what": place, "order": words(order, jobs), "clients": sorted({job.client for job in jobs} - gone),
                         "messages": len(sent) + len(answers), "out": out, "back": sum(map(len, answers.values())),
                         "seconds": time.monotonic() - begin})
        for i, reply in sorted(replies.items()):
            if reply.job.client not in gone:
                yield reply

    def exchange(self, messages):
        """Send messages and wait: `({key: bytes}, {key: why there is no answer})`."""
        ids = list(self.asked(self.grid.push_messages, list(messages.values()))) if messages else []
        waiting = {number: key for number, key in zip(ids, messages, strict=True) if number}
        answers = {}
        silent = {key: "was not to be reached" for number, key in zip(ids, messages, strict=True) if not number}
        end = time.monotonic() + self.seconds
        looked = time.monotonic()
        while waiting and time.monotonic() < end:
            there = None
            if time.monotonic() - looked > LOOK:
                there = self.there()        # before the replies are fetched: who has answered may go
                looked = time.monotonic()
            for reply in self.asked(self.grid.pull_messages, list(waiting)):
                key = waiting.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    silent[key] = f"failed ({' '.join(str(reply.error.reason).split())[:200]})"
                else:
                    answers[key] = wire.bytes_of(reply)
            for number, key in list(waiting.items()):
                if there is not None and messages[key].metadata.dst_node_id not in there:
                    del waiting[number]
                    silent[key] = "left"
            if waiting:
                time.sleep(POLL)
        silent |= dict.fromkeys(waiting.values(), f"did not answer within {self.seconds:g} s")
        return answers, silent

    def judge(self, place, jobs, lost):
        """Say who was lost; Bad where fewer clients than must have answered."""
        asked = {job.client for job in jobs}
        reasons = {jobs[i].client: reason for i, reason in sorted(lost.items())}
        heard = len(asked) - len(reasons)
        needed = max(1, min(self.least or len(asked), len(asked)))
        words = ", ".join(f"client {client} {reason}" for client, reason in reasons.items())
        if heard < needed:
            raise Bad(f"{place}: {words}, so that {heard} of {len(asked)} clients answered where {needed} must; see "
                      "their logs and run again, or lower --min-clients")
        for client, reason in reasons.items():
            self.lost.append(f"{place}: client {client} {reason}; the round went on without it")
            self.say(self.lost[-1])


def words(order, jobs):
    """What clients are asked, by the names that stand in an order and its jobs."""
    if not isinstance(order, Order):
        return f"the question {order.name}"
    loss = order.loss.name if order.loss else "cross-entropy"
    parts = [f"labels {job.labels.name}" for job in jobs[:1] if isinstance(job.labels, Call)]
    if order.after_step:
        parts.append(order.after_step.name)
    if order.mask:
        parts.append("mask")
    return " + ".join([loss, *parts])


def judged(task, job, state, order, data):
    """The Reply in a client's bytes, or, as a text, what is wrong with it."""
    try:
        sent = unpacked(data)
        if "bad" in sent:
            return f"answered: {sent['bad']}"
        reply = reply_of(job, data, task.device)
        usable = finite(reply.state)
        alike = fits(reply.state, state, whole=isinstance(order, Order))
    except Exception as error:
        return f"answered what is no reply ({short(error)})"
    if not alike:
        return "answered with tensors of other names, shapes or types than the net's"
    if not usable:
        return "answered with numbers that are not finite"
    return reply


def fits(found, state, whole):
    """Whether tensors have the names, shapes and types of a state's; whole: all names, else where they are the same."""
    if whole and found.keys() != state.keys() or not found:
        return False
    known = [k for k in found if k in state]
    return all(found[k].shape == state[k].shape and found[k].dtype == state[k].dtype for k in known)
