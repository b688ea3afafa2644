"""Does `dtype: bfloat16` move what is measured? Beside what another initialisation and another shuffle move.

    python benchmarks/bf16.py [--seeds 5] [--rounds 6] [--only "TIS CNN"]

Three times the same for each seed: in float32, in float32 again under another name (the noise floor), in bfloat16 under
the first name. Measured are Retrain and NoT, which begins at a model trained in the same arithmetic. A metric has moved
where the mean difference over seeds is farther from 0 than chance leaves it (t test, 5 %) and bfloat16 moves it more
than the noise floor does. Process time of one thread, the three in turn: median (min to max) over the seeds.
"""
import argparse
import time
from itertools import islice

from clock import ratios, spread

import numpy as np
from scipy import stats

import lib
from lib.methods.trained import Trained

NETS = {
    "NoT CNN, 32 px, colour, batch 25": dict(size=32, channels=3, model="cnn"),
    "TIS CNN, 28 px, batch 25": dict(size=28, model="tis_cnn"),
}
SHARED = dict(dataset="digits", n_train=1000, clients=5, batch_size=25, lr=0.1, device="cpu")
ARMS = {"float32": ("float32", "first"), "again": ("float32", "again"), "bfloat16": ("bfloat16", "first")}
METRICS = ("retain_acc", "forget_acc", "test_acc", "mia")


def last(stream, rounds):
    """The state after so many rounds of a stream whose first one is round 0."""
    return list(islice(stream, rounds + 1))[-1].state


def models(task, name, rounds):
    """`{method: state}` of a retrained and an unlearned model; name: of the initialisation and of all shuffles."""
    start = task.init(name)
    trained = list(islice(lib.fedavg(task, "full", start, phase=name), rounds))[-1].state
    made = Trained(start, trained, None, [])
    return {"Retrain": last(lib.unlearn(task, None, "Retrain", name=name), rounds),
            "NoT": last(lib.unlearn(task, made, "NoT"), rounds)}


def measure(settings, seed, dtype, name, rounds):
    """`({(method, metric): number}, seconds of training, seconds of evaluation)` of one arm at one seed."""
    task = lib.make_task({**SHARED, **settings, "dtype": dtype}, seed)
    begin = time.process_time()
    states = models(task, name, rounds)
    trained = time.process_time()
    found = {}
    for method, state in states.items():
        measured = lib.evaluate(task, state)
        found |= {(method, metric): measured[metric] for metric in METRICS}
    return found, trained - begin, time.process_time() - trained


def verdict(moved, floor):
    """Whether differences over seeds are more than chance and more than the noise floor."""
    if len(moved) < 2:
        return "one seed"
    chance = 1.0 if np.ptp(moved) == 0 else stats.ttest_1samp(moved, 0).pvalue
    return "MOVED" if chance < 0.05 and np.abs(moved).mean() > np.abs(floor).mean() else "within noise"


def table(numbers):
    """Print one line a method and metric; numbers: `{arm: [{(method, metric): number}]}`, a dict for each seed."""
    print(f"    {'':20} {'float32':>8} {'bfloat16':>9} {'difference':>16} {'|difference|':>13} {'noise floor':>12}")
    for key in numbers["float32"][0]:
        exact, again, rounded = (np.array([found[key] for found in numbers[arm]]) for arm in ARMS)
        moved, floor = rounded - exact, again - exact
        deviation = moved.std(ddof=1) if len(moved) > 1 else np.nan
        difference = f"{moved.mean():+.2f} ± {deviation:.2f}"
        print(f"    {' '.join(key):20} {exact.mean():8.2f} {rounded.mean():9.2f} {difference:>16} "
              f"{np.abs(moved).mean():13.2f} {np.abs(floor).mean():12.2f}  {verdict(moved, floor)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default="", help="nets whose name contains this")
    args = parser.parse_args()
    for net, settings in NETS.items():
        if args.only not in net:
            continue
        print(net)
        numbers, training, evaluation = ({arm: [] for arm in ARMS} for _ in range(3))
        for seed in range(args.seeds):
            for arm, (dtype, name) in ARMS.items():
                found, *seconds = measure(settings, seed, dtype, name, args.rounds)
                numbers[arm].append(found)
                training[arm].append(seconds[0])
                evaluation[arm].append(seconds[1])
        table(numbers)
        for what, seconds in (("training", training), ("evaluation", evaluation)):
            faster = spread(ratios(seconds, "float32", "bfloat16"), digits=2)
            print(f"    {what} in float32 takes {faster} times as long", flush=True)


if __name__ == "__main__":
    main()
