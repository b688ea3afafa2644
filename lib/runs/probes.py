"""What is asked of finished models, beyond what every run measures."""
from ..fl.finite import guess, share
from ..fl.models import first_layer
from ..metrics.evaluate import predict
from .run import described


def negated_again(task, record):
    """Rows that say how often a finished model gives the attacker's label, its first layer negated once more.

    Over the test images of other labels: `asr_negated` with the trigger, `clean_negated` without it (the control), in
    percent. `record` is one of `lib.run`.
    """
    state = record["entry"].tensors("final")
    names = [name for name, _ in task.model.named_parameters()]
    first = names[first_layer(task.model)]
    again = {**state, first: -state[first]}
    images = task.x_test[task.y_test != task.poison_label]
    common = described(task) | {"method": record["method"], "stop": "last", "round": record["curve"][-1]["round"]}
    rows = []
    for metric, triggered in (("asr_negated", True), ("clean_negated", False)):
        said = guess(predict(task, again, images=images, triggered=triggered))
        rows.append(common | {"metric": metric, "value": share(said, task.poison_label)})
    return rows
