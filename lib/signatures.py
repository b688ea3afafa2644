"""What every registered function of `lib` takes, for those who must not wait for torch.

Written by `python -m workflow.docs`: do not edit.
"""
from typing import (
    Annotated,
    Literal)

from .registry import (
    Argument,
    REQUIRED)
from .values import (
    Concentration,
    Count,
    Momentum,
    NotNegative,
    Percent,
    Positive,
    Range,
    Rate,
    Schedule,
    Share,
    Side,
    Small,
    SomeShare,
    Whole,
    Width)

SIGNATURES = {
    "method": {
        "BadT": {
            "temperature": Argument(Positive, 1.0),
            "optimizer": Argument(Literal['sgd', 'adam'], 'adam'),
            "lr": Argument(Rate, 0.0001),
            "share": Argument(Share, 0.3),
            "schedule": Argument(Schedule | None, None),
        },
        "FCU": {
            "lr": Argument(Rate, 0.01),
            "iterations": Argument(Count, 20),
            "interval": Argument(Count, 10),
            "low_freq": Argument(Share, 0.9),
            "temperature": Argument(Positive, 0.5),
            "fusion": Argument(Literal['paper', 'code'], 'paper'),
            "redraw": Argument(bool, True),
            "beta2": Argument(Momentum, 0.99),
            "weight_decay": Argument(NotNegative, 0.0005),
            "batch_size": Argument(Count | None, None),
            "passes": Argument(bool, False),
            "patience": Argument(Count | None, None),
        },
        "FT": {
            "lr": Argument(Rate | None, None),
            "schedule": Argument(Schedule | None, None),
        },
        "FUKD": {
            "lr": Argument(Rate, 0.0001),
            "momentum": Argument(Momentum, 0.9),
            "epochs": Argument(Whole, 3),
            "temperature": Argument(Positive, 3.0),
            "batch_size": Argument(Count | None, None),
        },
        "FedEraser": {
            "interval": Argument(Count, 1),
            "share": Argument(SomeShare, 0.5),
            "per": Argument(Literal['client', 'average'], 'client'),
            "recovery": Argument(bool, False),
        },
        "GA": {
            "epochs": Argument(Whole, 1),
            "lr": Argument(Rate | None, None),
            "clip": Argument(NotNegative | None, 1.0),
            "schedule": Argument(Schedule | None, None),
        },
        "MoDE": {
            "lr": Argument(Rate, 0.005),
            "lr_phi": Argument(Rate, 0.1),
            "rounds": Argument(Whole, 3),
            "degrade": Argument(Whole, 2),
            "weight": Argument(Share, 0.4),
            "weight_of": Argument(Literal['theta', 'phi'], 'theta'),
            "guide": Argument(bool, True),
        },
        "NR-Freeze": {
            "layers": Argument(list[int | str] | None, None),
            "sign": Argument(float, -1.0),
            "source": Argument(Literal['trained', 'random'], 'trained'),
        },
        "NoT": {
            "layers": Argument(list[int] | None, None),
            "scale": Argument(float, -1.0),
            "lr": Argument(Rate | None, None),
            "schedule": Argument(Schedule | None, None),
        },
        "Original": {},
        "PGD": {
            "lr": Argument(Rate, 0.1),
            "momentum": Argument(Momentum, 0.9),
            "iterations": Argument(Whole, 10),
            "updates": Argument(Whole, 5),
            "distance": Argument(NotNegative, 3.0),
            "clip": Argument(NotNegative | None, 2.0),
            "batch_size": Argument(Count | None, None),
            "squared": Argument(bool, True),
            "draws": Argument(Count, 10),
        },
        "Perturb": {
            "kind": Argument(str, 'negate'),
            "layers": Argument(list[int | str] | None, None),
            "strength": Argument(NotNegative, 1.0),
        },
        "RandL": {
            "fixed": Argument(bool, False),
            "schedule": Argument(Schedule | None, None),
        },
        "Random-Reset": {
            "gamma": Argument(Percent, 30.0),
            "reset": Argument(Literal['zero', 'init'], 'zero'),
            "curvature": Argument(Literal['ggn', 'ggn_mc', 'hessian'], 'ggn'),
            "path": Argument(Literal['auto', 'hooks', 'backpack', 'vmap'], 'auto'),
            "draw": Argument(Whole, 0),
            "rule": Argument(Literal['text', 'code'], 'text'),
            "recovery": Argument(bool, False),
            "lr": Argument(Rate | None, None),
        },
        "Random-Reset+TRIM": {
            "gamma": Argument(Percent, 30.0),
            "reset": Argument(Literal['zero', 'init'], 'zero'),
            "curvature": Argument(Literal['ggn', 'ggn_mc', 'hessian'], 'ggn'),
            "path": Argument(Literal['auto', 'hooks', 'backpack', 'vmap'], 'auto'),
            "draw": Argument(Whole, 0),
            "rule": Argument(Literal['text', 'code'], 'text'),
            "lr": Argument(Rate | None, None),
        },
        "Retrain": {
            "name": Argument(str, 'retrain'),
        },
        "SSD": {
            "alpha": Argument(NotNegative, 0.5),
            "damping": Argument(NotNegative, 0.5),
        },
        "SalUn": {
            "share": Argument(SomeShare, 0.2),
            "fixed": Argument(bool, False),
            "schedule": Argument(Schedule | None, None),
        },
        "TIS-Reset": {
            "gamma": Argument(Percent, 30.0),
            "reset": Argument(Literal['zero', 'init'], 'zero'),
            "curvature": Argument(Literal['ggn', 'ggn_mc', 'hessian'], 'ggn'),
            "path": Argument(Literal['auto', 'hooks', 'backpack', 'vmap'], 'auto'),
            "score": Argument(Literal['tis', 'forget', 'shift'], 'tis'),
            "rule": Argument(Literal['text', 'code'], 'text'),
            "recovery": Argument(bool, False),
            "lr": Argument(Rate | None, None),
        },
        "TIS-Reset+TRIM": {
            "gamma": Argument(Percent, 30.0),
            "reset": Argument(Literal['zero', 'init'], 'zero'),
            "curvature": Argument(Literal['ggn', 'ggn_mc', 'hessian'], 'ggn'),
            "path": Argument(Literal['auto', 'hooks', 'backpack', 'vmap'], 'auto'),
            "score": Argument(Literal['tis', 'forget', 'shift'], 'tis'),
            "rule": Argument(Literal['text', 'code'], 'text'),
            "lr": Argument(Rate | None, None),
        },
        "l1-sparse": {
            "alpha": Argument(NotNegative, 0.002),
            "epochs": Argument(Whole, 2),
            "decay": Argument(bool, True),
            "schedule": Argument(Schedule | None, None),
        },
    },
    "model": {
        "cnn": {
            "width": Argument(Width, 32),
            "norm": Argument(Literal['group', 'none'], 'group'),
            "activation": Argument(Literal['relu', 'tanh', 'gelu'], 'relu'),
        },
        "resnet18": {
            "width": Argument(Width, 64),
        },
        "resnet18_3x3": {
            "width": Argument(Width, 64),
        },
        "small_cnn": {
            "width": Argument(Width, 32),
            "norm": Argument(Literal['group', 'none'], 'group'),
            "activation": Argument(Literal['relu', 'tanh', 'gelu'], 'relu'),
        },
        "small_vit": {
            "patch": Argument(Small, 4),
            "dim": Argument(Width, 64),
            "depth": Argument(Small, 4),
            "heads": Argument(Small, 4),
        },
        "tis_cnn": {
            "width": Argument(Width, 32),
            "activation": Argument(Literal['relu', 'tanh', 'gelu'], 'relu'),
        },
        "vit_b16": {},
    },
    "dataset": {
        "caltech101": {
            "size": Argument(Side | None, None),
        },
        "cifar10": {},
        "cifar100": {},
        "digits": {
            "noise": Argument(Annotated[float, Range(low=0, high=10, above=False, below=False)], 1.0),
            "size": Argument(Side | None, None),
            "channels": Argument(Literal[1, 3] | None, None),
            "n_train": Argument(Count | None, None),
            "n_test": Argument(Count | None, None),
            "seed": Argument(int, 0),
        },
        "digits_clean": {
            "size": Argument(Side | None, None),
            "channels": Argument(Literal[1, 3] | None, None),
            "n_train": Argument(Count | None, None),
            "n_test": Argument(Count | None, None),
            "seed": Argument(int, 0),
        },
        "fashionmnist": {},
        "mnist": {},
    },
    "partition": {
        "dirichlet": {
            "beta": Argument(Concentration, REQUIRED),
            "min_size": Argument(Whole, 10),
        },
        "iid": {},
        "preferential": {},
        "tis_dirichlet": {
            "beta": Argument(Concentration, REQUIRED),
        },
    },
}
