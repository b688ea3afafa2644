"""Federated unlearning: Retrain, FT and NoT."""
from ..models import first_layer
from ..rounds import Round
from . import method


@method("Original", recovery=False)
def original(task, trained):
    """The trained model as it is: what unlearning starts from."""
    yield Round(trained.state)


@method("Retrain")
def retrain(task, trained, *, init="retrain", phase="retrain"):
    """Training from scratch on the retained data, the reference of every gap (NoT, 6.1).

    init, phase: names of the initialisation and of the randomness; with those of training ("train") and nothing to
    forget it repeats the original run bit for bit.
    """
    yield Round(task.init(init), then={"phase": phase})


@method("FT")
def ft(task, trained, *, schedule=None):
    """Fine-tuning on the retained data alone: natural forgetting (NoT, 6.1).

    schedule: of the learning rate, `("cosine", start, end, rounds)`; None is the task's rate throughout.
    """
    yield Round(trained.state, then={"schedule": schedule})


@method("NoT")
def not_(task, trained, *, layers=None, scale=-1.0, schedule=None):
    """NoT, eq. 3: multiply chosen tensors by -1, then fine-tune.

    layers: indices into `model.parameters()` as in the paper's listing (its section 11); None is the first
    convolution's weight, without its bias. scale: what they are multiplied by. schedule: of the fine-tuning's learning
    rate, as in FT.
    """
    names = [k for k, _ in task.model.named_parameters()]
    chosen = {names[i] for i in ([first_layer(task.model)] if layers is None else layers)}
    yield Round({k: v * scale if k in chosen else v for k, v in trained.state.items()},
                then={"schedule": schedule})
