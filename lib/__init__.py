"""Federated unlearning, reproduced: an unlearning method is a generator of rounds, FedAvg does the rest.

The public names stand in `__init__.pyi`, where editors find them; each is imported when it is first used, so that
`import lib` does not wait for torch.
"""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
