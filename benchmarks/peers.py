"""The same round of FedAvg by other libraries, where they are installed: `{name: function that does one round}`.

    pip install fedlab pfl

Each uses the net, the clients' data, the batch size and SGD with momentum that ours uses. Flower runs each client in a
process of its own, so that its time is not that of this process: see flower/README.md for what its rounds take.
"""
import contextlib
import copy
import io
import logging
from functools import partial

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


def peers(task, data, sgd):
    """data: `[(x, y)]` of the clients; sgd(net, recipe): the optimiser."""
    found = {}
    for name, prepare in (("FedLab", fedlab), ("pfl", pfl)):
        try:
            found[name] = prepare(task, data, sgd)
        except ImportError:
            continue
    return found


def fedlab(task, data, sgd):
    """FedLab's trainer of many clients in one process, and its mean."""
    from fedlab.contrib.algorithm.basic_client import SGDSerialClientTrainer
    from fedlab.utils import Aggregators, SerializationTool

    class Clients:
        def get_dataloader(self, client, batch_size):
            return DataLoader(TensorDataset(*data[client]), batch_size, shuffle=True)

    net = task.build().to(memory_format=torch.contiguous_format).train()     # it flattens weights by a view
    trainer = SGDSerialClientTrainer(net, len(data))
    trainer._LOGGER.info = lambda *words: None
    trainer.setup_dataset(Clients())
    trainer.setup_optim(1, task.recipe.batch_size, task.recipe.lr)
    trainer.optimizer = sgd(trainer._model, task.recipe)
    weights = [len(y) for _, y in data]
    model = [SerializationTool.serialize_model(net)]

    def one_round():
        trainer.local_process(model, range(len(data)))
        model[0] = Aggregators.fedavg_aggregate([sent[0] for sent in trainer.uplink_package], weights)
    return one_round


def pfl(task, data, sgd):
    """pfl's simulation in one process."""
    logging.disable(logging.INFO)       # its import speaks
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.data import FederatedDataset
    from pfl.data.dataset import Dataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Weighted
    from pfl.model.pytorch import PyTorchModel

    net = task.build().train()
    inner = net.forward

    def loss(x, y, eval=False):
        return cross_entropy(inner(x), y)

    def metrics(x, y):
        return {"loss": Weighted(0.0, len(y))}

    net.loss, net.metrics = loss, metrics
    recipe = task.recipe
    model = PyTorchModel(net, partial(torch.optim.SGD, momentum=recipe.momentum, weight_decay=recipe.weight_decay),
                         torch.optim.SGD(net.parameters(), 1.0))
    clients = list(range(len(data)))
    federated = FederatedDataset(lambda client: Dataset(raw_data=list(data[client]), user_id=str(client)),
                                 get_user_sampler("minimize_reuse", clients))
    backend = SimulatedBackend(training_data=federated, val_data=None)
    algorithm = NNAlgorithmParams(central_num_iterations=1, evaluation_frequency=10**9, train_cohort_size=len(data),
                                  val_cohort_size=None)
    training = NNTrainHyperParams(local_learning_rate=recipe.lr, local_num_epochs=1, local_batch_size=recipe.batch_size)

    def one_round():
        with contextlib.redirect_stdout(io.StringIO()):     # it prints its metrics
            FederatedAveraging().run(algorithm_params=copy.copy(algorithm), backend=backend, model=model,
                                     model_train_params=training, model_eval_params=None, callbacks=[])
    return one_round
