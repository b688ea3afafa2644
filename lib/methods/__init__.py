"""Unlearning methods: generators of rounds that choose where recovery starts; FedAvg on retained data does the rest.

Each stands in one of the modules below, registered by `@method(name, needs=...)`. What it declares to need is checked
against what it touches by the tests.
"""
from ..registry import METHODS as METHODS
from . import ablation as ablation
from . import centralized as centralized
from . import federated as federated
from . import tis as tis
from .grammar import NEEDS as NEEDS
from .grammar import REMEDY as REMEDY
from .grammar import defaults as defaults
from .grammar import find as find
from .grammar import method as method
from .grammar import needs as needs
from .grammar import recover as recover
from .grammar import refuse as refuse
from .grammar import rounds_of as rounds_of
from .grammar import unlearn as unlearn
