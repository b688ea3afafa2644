"""One unlearning request over real processes on this machine, compared with the same in one process.

    python -m flower.run --method NoT --setting digits_small_cnn --nodes 3

Several methods share one training; those that do without the target come last, when its node has been stopped.
"""
import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import lib
from lib.errors import Bad

from .engine import named
from .processes import HOST, Local
from .setting import judge, methods_of, request, whole_task


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
    return {"profile": a.profile, "setting": a.setting, "seed": a.seed, "nodes": a.nodes, "rounds": a.rounds,
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
        result["whole"] = time.monotonic() - begin
        if "error" in result:
            raise Bad(result["error"])
    return result, kept(out)


def kept(out):
    """`{name: state}` of the models in a folder, as `trained` and `NoT/000`."""
    files = [*out.glob("*.safetensors"), *out.glob("*/*.safetensors")]
    return {str(file.relative_to(out).with_suffix("")): load_file(file) for file in sorted(files)}


def follow(federation, run, config, out):
    """Wait for the end of a run, and stop the target's node where the server waits for that."""
    stopped = False
    while not (out / "result.json").exists():
        federation.see("superlink")
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


# -- what is said --------------------------------------------------------------------------------------------------------

def report(result, states, found):
    """The lines that the command ends with."""
    numbers = next(iter(states.values())).values()
    size = max(v.element_size() for v in numbers)
    lines = [f"{'phase':<12}{'rounds':>7}{'seconds':>9}{'messages':>10}{'bytes':>12}{'formula':>12}{'ratio':>7}"]
    for phase in result["phases"]:
        sent = sum(x["out"] + x["back"] for x in phase["log"])
        messages = sum(x["messages"] for x in phase["log"])
        formula = phase["formula"] * size / 4
        ratio = f"{sent / formula:.3f}" if formula else "-"
        lines.append(f"{phase['what']:<12}{phase['rounds']:>7}{phase['seconds']:>9.1f}{messages:>10}{sent:>12,}"
                     f"{formula:>12,.0f}{ratio:>7}")
    lines.append(f"bytes: of orders and replies; formula: the cost of lib's rounds, at {size} bytes a number")
    absent = [phase["what"] for phase in result["phases"] if phase["left"]]
    if absent:
        lines.append(f"no node of {named(result['left'])} was there during {', '.join(absent)}")
    lines += result["lost"]
    tensors = sum(map(len, states.values()))
    if found:
        lines += [f"differs by {value:.3g}: {name}" for name, value in found.items()]
        lines.append(f"not bit-equal: {len(found)} of {tensors} tensors differ, by {max(found.values()):.3g} at most")
    else:
        lines.append(f"bit-equal: {len(states)} models, {tensors} tensors")
    return lines


def main(config):
    """Run, compare and report; 0 where the models are the same bits, 1 where they are not."""
    judge(config)
    with tempfile.TemporaryDirectory(prefix="fl-out-") as folder:
        config = config | {"out": str(Path(config["out"]).absolute()) if config["out"] else folder}
        Path(config["out"]).mkdir(parents=True, exist_ok=True)
        for old in Path(config["out"]).glob("*.json"):
            old.unlink()
        result, states = over_processes(config)
        found = differences(in_this_process(config), states)
        for line in report(result, states, found):
            say(line)
        say(f"{result['whole']:.1f} s in all, from the start of the processes to their end")
    return 1 if found else 0


def interrupted(number, frame):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        status = main(arguments())
    except Bad as error:
        print(error, file=sys.stderr)
        status = 2
    except KeyboardInterrupt as stop:
        print("interrupted; all processes have ended", file=sys.stderr)
        status = 128 + stop.args[0]
    sys.exit(status)
