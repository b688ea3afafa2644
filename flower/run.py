"""One unlearning request over real processes on this machine, compared with the same in one process.

    python -m flower.run --method NoT --setting digits_small_cnn --nodes 3

Several methods share one training; those that do without the target come last, when its node has been stopped.
"""
import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from workflow import ending

if __name__ == "__main__":
    ending.in_one_line()        # before the imports that take their time

import torch
from safetensors.torch import load_file

import lib
from lib.errors import Bad

from .processes import APP, HOST, KINDS, Local
from .report import report
from .setting import folder, judge, methods_of, request, whole_task


def arguments(words=None):
    """What the command line says, as the run-config."""
    p = argparse.ArgumentParser("python -m flower.run", description="Start a SuperLink and SuperNodes on the loopback, "
                                "train, unlearn by one method, and compare with the same in one process.")
    p.add_argument("--method", nargs="+", default=["NoT"], metavar="NAME",
                   help="methods of lib, as NoT, FedEraser, TIS-Reset (default NoT)")
    p.add_argument("--arguments", default="{}", metavar="JSON",
                   help="arguments by method, as '{\"FCU\": {\"iterations\": 20}}'")
    p.add_argument("--setting", default="digits_small_cnn", help="a setting of the profile (default %(default)s)")
    p.add_argument("--profile", default="quick", help="a profile in params/, or the path of one (default %(default)s)")
    p.add_argument("--nodes", type=int, default=3, help="clients, each with a SuperNode of its own (default %(default)s)")
    p.add_argument("--rounds", type=int, default=3,
                   help="rounds of training, and of recovery; 0: as the setting says (default %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--min-clients", type=int, default=0,
                   help="clients that must answer in a round; 0: all that are asked (default)")
    p.add_argument("--timeout", type=float, default=120.0, help="seconds a round may take (default %(default)g)")
    p.add_argument("--wait", type=float, default=120.0, help="seconds until all must have come (default %(default)g)")
    p.add_argument("--target-stays", action="store_true",
                   help="the target's node is not stopped before a request that does not need it")
    p.add_argument("--out", default="", help="folder for the models and result.json (default: none is kept)")
    a = p.parse_args(words)
    given = by_method(a.arguments, a.method)
    return {"profile": a.profile, "setting": a.setting, "settings": "", "seed": a.seed, "nodes": a.nodes, "rounds": a.rounds,
            "methods": json.dumps({name: given.get(name, {}) for name in a.method}), "min-clients": a.min_clients, "timeout": a.timeout,
            "wait": a.wait, "target-leaves": not a.target_stays, "out": a.out}


def by_method(text, methods):
    """`{method: arguments}` from JSON."""
    try:
        given = json.loads(text)
    except ValueError:
        raise Bad(f"--arguments: {text!r} is no JSON; write '{{\"NoT\": {{\"lr\": 0.1}}}}'") from None
    strange = set(given) - set(methods) if isinstance(given, dict) else {text}
    if strange:
        raise Bad(f"--arguments: {min(strange)!r} is none of the methods {', '.join(methods)}; write "
                  "'{\"NoT\": {\"lr\": 0.1}}'")
    return given


def say(text):
    print(text, flush=True)


# -- the federation ------------------------------------------------------------------------------------------------------

def over_processes(config):
    """Run the request on a federation on this machine; its `result.json` and `{name: state}`. Bad where it ended early."""
    begin = time.monotonic()
    out = Path(config["out"])
    with Local(config["nodes"], config["wait"]) as federation:
        say(f"SuperLink on {HOST}:{federation.port}, {config['nodes']} SuperNodes with a worker each")
        run = federation.start_run(config)
        follow(federation, run, config, out)
        result = json.loads((out / "result.json").read_text())
        if "error" in result:
            raise Bad(result["error"])
    result["whole"] = time.monotonic() - begin
    return result, kept(out, methods_of(config))


def kept(out, methods):
    """`{name: state}` of the models of some methods in a folder, as `trained` and `NoT/000`."""
    files = [out / "trained.safetensors"]
    for name in methods:
        files += (out / name).glob("*.safetensors")
    return {str(file.relative_to(out).with_suffix("")): load_file(file) for file in sorted(files)}


def follow(federation, run, config, out):
    """Wait for the end of a run, and stop the target's node where the server waits for that."""
    begin = time.monotonic()
    met = stopped = False
    while not (out / "result.json").exists():
        federation.see("superlink")
        if not met:
            met = (out / "met.json").exists()
            see_nodes(federation, met, begin)
        if run.poll() is not None:
            time.sleep(2)       # the log ends a moment before the process does
            if not (out / "result.json").exists():
                raise Bad(f"flwr run: it ended without a result ({federation.last_words('cli')}); see "
                          "python -m flower.run --help, and run again")
        if not stopped and (out / "leave.json").exists():
            for client in json.loads((out / "leave.json").read_text()):
                federation.stop_node(client)
                say(f"the node of client {client} is stopped: the requests that follow do not need it")
            stopped = True
        time.sleep(0.2)


def see_nodes(federation, met, begin):
    """Say when all nodes have answered; until then Bad where one has ended. What ends later is the server's to judge."""
    if met:
        say(f"all nodes have answered after {time.monotonic() - begin:.0f} s")
        return
    for client in range(federation.count):
        for kind in KINDS:
            federation.see(f"{kind}-{client}")


# -- the same in this process -------------------------------------------------------------------------------------------

def in_this_process(config):
    """The same training and request without Flower: `{name: state}`."""
    task = whole_task(config)
    with tempfile.TemporaryDirectory() as folder:
        trained = lib.train(task, lib.Store(folder))
        states = {"trained": trained.state}
        for name, given in methods_of(config).items():
            for r, now in enumerate(request(task, trained, name, given)):
                states[f"{name}/{r:03d}"] = now.state
    return states


def differences(ours, theirs):
    """`{"model/tensor": largest difference}` of those that are not the same bits; a model that one lacks is infinite."""
    found = {}
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found[name] = float("inf")
            continue
        for key, value in ours[name].items():
            other = theirs[name][key]
            if not torch.equal(value, other):
                found[f"{name}/{key}"] = float((value.double() - other.double()).abs().max())
    return found


# -- both, and what is said ----------------------------------------------------------------------------------------------

def compared(config):
    """Run, compare: the result with `differences` (empty: the same bits), `models`, `tensors` and `size`, bytes a number."""
    judge(config)
    with tempfile.TemporaryDirectory(prefix="fl-out-") as aside:
        out = folder(config) if config["out"] else Path(aside)
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob("*.json"):      # of a run before this
            old.unlink()
        result, states = over_processes(config | {"out": str(out)})
    result["differences"] = differences(in_this_process(config), states)
    result["models"] = len(states)
    result["tensors"] = sum(map(len, states.values()))
    result["size"] = max(v.element_size() for v in states["trained"].values() if v.is_floating_point())
    return result


def on_flower(name, settings, seed, **changes):
    """`compared` for a setting of a notebook, with as many nodes and rounds as it says; changes: of the run-config."""
    defaults = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    methods = settings.get("methods") or {"NoT": {}}
    given = {"setting": name, "settings": json.dumps(settings), "seed": seed, "nodes": settings["clients"], "rounds": 0,
             "methods": json.dumps(methods), "target-leaves": True, "wait": 600.0, "timeout": 300.0}
    return compared(defaults | given | changes)


def main(config):
    """Run, compare and print the report; 0 where the models are the same bits, 1 where they are not."""
    result = compared(config)
    for line in report(result):
        say(line)
    return 1 if result["differences"] else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        status = main(arguments())
    except Bad as error:
        print(error, file=sys.stderr)
        status = 2
    sys.exit(status)
