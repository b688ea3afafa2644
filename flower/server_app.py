"""The ServerApp: train on the nodes that are there, unlearn by each method that was asked for, and keep every model.

Below `out`: `trained.safetensors`, and for a method `NoT/000.safetensors` (what its recovery starts from), `001` and so
on; `result.json` says what each phase took, who was lost, and, where the run had to end, the sentence that says why.
"""
import json
import shutil
import time
from dataclasses import replace

from flwr.serverapp import ServerApp
from safetensors.torch import save

import lib
from lib.errors import Bad, short
from lib.files import write

from flower.engine import Federation, say
from flower.setting import folder, judge, methods_of, misses_nobody, named, of_server, reads_history, request

app = ServerApp()


@app.main()
def main(grid, context):
    """Run training and requests as the run-config says."""
    config = dict(context.run_config)
    out = folder(config)
    result = {"config": config, "phases": [], "lost": [], "left": [],
              "error": "ServerApp: it was ended before the run was done; see the SuperLink's log, and run again"}
    try:
        Server(grid, config, out, result).run()
        del result["error"]
    except Bad as error:
        result["error"] = str(error)
        raise
    except Exception as error:
        result["error"] = f"ServerApp: it ended with {short(error)}; see the SuperLink's log"
        raise
    finally:
        write(out / "result.json", json.dumps(result, indent=1))


class Server:
    """What the server does in a run; `result` is filled as it goes."""

    def __init__(self, grid, config, out, result):
        judge(config)
        self.config, self.out, self.result = config, out, result
        self.task, mark = of_server(config)
        self.methods = methods_of(config)
        self.federation = Federation(grid, mark, config["timeout"], config["min-clients"])
        self.federation.lost = result["lost"]

    def run(self):
        """Training, the requests that the target helps with, and then, when it has gone, those that do without it."""
        self.federation.meet(len(self.task.clients), self.config["wait"])
        write(self.out / "met.json", json.dumps(sorted(self.federation.nodes)))
        self.task = replace(self.task, engine=self.federation)
        trained = self.train()
        absent = [name for name in self.methods if misses_nobody(self.task, name, self.methods[name])]
        for name in self.methods:
            if name not in absent:
                self.request(trained, name)
        if absent and self.config["target-leaves"]:
            self.part()
        for name in absent:
            self.request(trained, name)

    def train(self):
        """The trained model: kept in `out`, so that a run that was cut off goes on, and one of other methods finds it."""
        begin = time.monotonic()
        gaps = self.out / "store" / "lost.json"
        before = json.loads(gaps.read_text()) if gaps.exists() else []
        trained = lib.train(self.task, lib.Store(self.out / "store"))
        missing = before + self.federation.lost
        write(gaps, json.dumps(missing))
        self.refuse_gaps(missing)
        self.phase("training", self.task.settings["rounds"], begin, trained.curve[-1]["bytes"])
        self.keep("trained", trained.state)
        return trained

    def refuse_gaps(self, missing):
        """Refuse methods that need the history of a training in which somebody was lost."""
        for name, arguments in self.methods.items():
            if missing and reads_history(name, arguments):
                raise Bad(f"methods.{name}: it needs every client's updates of training ({missing[0]}); train again, or "
                          "choose a method without history")

    def part(self):
        """Wait until the nodes of the targets have gone, which those who run them are told by `leave.json`."""
        targets = list(self.task.targets)
        say(f"{named(targets)} leaves: the requests that follow do not need it")
        write(self.out / "leave.json", json.dumps(targets))
        self.federation.wait_for_leave(targets, self.config["wait"])
        self.result["left"] = targets

    def request(self, trained, name):
        """One method's rounds, each model kept."""
        begin = time.monotonic()
        shutil.rmtree(self.out / name, ignore_errors=True)      # of a run before this
        formula = 0.0
        r = -1
        for r, now in enumerate(request(self.task, trained, name, self.methods[name])):
            self.keep(f"{name}/{r:03d}", now.state)
            formula += now.cost.bytes
        self.phase(name, r, begin, formula)

    def phase(self, what, rounds, begin, formula):
        """Write down what a phase took; formula: bytes as lib counts them."""
        self.result["phases"].append({"what": what, "rounds": rounds, "seconds": time.monotonic() - begin,
                                      "formula": formula, "left": list(self.result["left"]),
                                      "log": list(self.federation.log)})
        self.federation.log.clear()

    def keep(self, name, state):
        """A state as a file."""
        write(self.out / f"{name}.safetensors", save({k: v.detach().cpu().contiguous() for k, v in state.items()}))
