"""Rows made by hand: runs whose gaps are as given."""
import lib
from lib.words import GAP


def run(method, gaps, seed, variant="", known=100.0, **more):
    """A run whose gap is as given, ten rounds after each other; a round costs one byte and one FLOP."""
    curve = [{"round": 10 * i, **dict.fromkeys(GAP, known - gap), "bytes": 10.0 * i, "flops": 10.0 * i}
             for i, gap in enumerate(gaps)]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": seed, "curve": curve, **more}


def table(seeds, known=100.0, retrain=(80, 60, 40, 20, 0), **lost):
    records = []
    for seed in range(seeds):
        again = [80, 60, 40, 20, 1]
        records += [run("Original", [0.0], seed, known=known), run("Retrain", retrain, seed, known=known),
                    run("Retrain", again, seed, "name=again", known), run("NoT", [80, 40, 15 + seed, 5, 2], seed, known=known),
                    run("FT", [70, 70, 70, 70, 70], seed, "lr=0.2", known, **lost),
                    run("FedEraser", [80, 61, 40, 20, 0], seed, known=known)]
    return lib.rows(records, profile="reduced", notebook="02")
