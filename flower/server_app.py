"""The ServerApp: train on the nodes that are there, unlearn by one method, and leave every model in a folder.

`trained.safetensors`, `round_000.safetensors` (what the request starts from) and so on; `result.json` says what each
phase took, who was lost, and, where the run had to end, the sentence that says why.
"""
import json
import time
from dataclasses import replace
from pathlib import Path

from flwr.serverapp import ServerApp
from safetensors.torch import save

import lib
from lib.errors import Bad, short
from lib.files import runs_root, write
from lib.methods import needs, refuse, unlearn

from flower.engine import Federation, named, say
from flower.setting import method_of, of_server

app = ServerApp()


@app.main()
def main(grid, context):
    """Run a request as the run-config says."""
    config = dict(context.run_config)
    out = folder(config)
    result = {"config": config}
    try:
        serve(grid, config, out, result)
    except Bad as error:
        result["error"] = str(error)
        raise
    except Exception as error:
        result["error"] = f"the ServerApp ended with {short(error)}; see the SuperLink's log"
        raise
    finally:
        write(out / "result.json", json.dumps(result, indent=1))


def folder(config):
    """The folder that the models of a run go to: `out`, or `flower` below `FU_RUNS`."""
    out = Path(config["out"] or runs_root() / "flower").expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    return out


def serve(grid, config, out, result):
    """Training, then the request; fills `result` as it goes."""
    task, mark = of_server(config)
    name, arguments = method_of(config)
    refuse(task, name, arguments)
    federation = Federation(grid, mark, config["timeout"], config["min-clients"])
    result |= {"lost": federation.lost, "phases": []}
    federation.meet(len(task.clients), config["wait"])
    task = replace(task, engine=federation)

    def phase(what, rounds, begin, formula):
        log, federation.log = federation.log, []
        result["phases"].append({"what": what, "rounds": rounds, "seconds": time.monotonic() - begin,
                                 "formula": formula, "log": log})

    begin = time.monotonic()
    trained = lib.train(task, lib.Store(out / "store"))
    complete(federation, name, arguments)
    phase("training", task.settings["rounds"], begin, trained.curve[-1]["bytes"])
    keep(out, "trained", trained.state)

    if leaves(task, config):
        say(f"training is done; {named(task.targets)} leaves before the request, for which {name} does not need it")
        federation.wait_for_leave(task.targets, config["wait"])
        result["left"] = list(task.targets)

    begin = time.monotonic()
    formula = 0.0
    r = -1
    for r, now in enumerate(request(task, trained, name, arguments)):
        keep(out, f"round_{r:03d}", now.state)
        formula += now.cost.bytes
    phase(name, r, begin, formula)


def request(task, trained, name, arguments):
    """The rounds of a method up to as many of recovery as the setting says; those of its own are not counted."""
    for now in unlearn(task, trained, name, **arguments):
        yield now
        if now.then.round >= task.settings["unlearn_rounds"]:
            return


def complete(federation, name, arguments):
    """Refuse a method that needs the history of a training in which somebody was lost."""
    if federation.lost and "history" in needs(name, **arguments):
        raise Bad(f"methods.{name}: it needs every client's updates of training, and {federation.lost[0]}; train again, "
                  "or choose a method without history")


def leaves(task, config):
    """Whether the nodes of the targets are to be gone before the request: asked for, and nobody will miss them."""
    name, arguments = method_of(config)
    whole = task.settings["forget"] == "clients"
    return config["target-leaves"] and whole and "target" not in needs(name, **arguments)


def keep(out, name, state):
    """A state as a file, whole or not at all."""
    write(out / f"{name}.safetensors", save({k: v.detach().cpu().contiguous() for k, v in state.items()}))
