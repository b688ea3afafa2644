"""The examples in docstrings are run: what they print is what stands there."""
import doctest
from importlib import import_module

import numpy as np
import pytest
import torch

MODULES = ("fl.backdoor", "fl.engine", "fl.gradients", "fl.history", "fl.rng", "fl.rounds", "fl.task", "methods.ablation",
           "methods.centralized", "methods.curvature", "methods.federated", "methods.tis", "metrics.evaluate",
           "metrics.tis")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_print_what_they_say(name):
    module = import_module(f"lib.{name}")
    result = doctest.testmod(module, extraglobs={"torch": torch, "np": np})
    assert not result.failed


def test_most_modules_have_examples():
    finder = doctest.DocTestFinder()
    with_examples = [name for name in MODULES
                     if any(test.examples for test in finder.find(import_module(f"lib.{name}")))]
    assert len(with_examples) >= 10
