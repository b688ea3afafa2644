"""What a run says: which phase asked whom for what, what that took, and whether the bits are those of one process."""
from .setting import named


def rows(result):
    """A dict a phase: rounds, who was asked for what, messages, megabytes to the clients and back, those of lib's cost
    formula at the width of this run's numbers, and seconds."""
    return [row(phase, result["size"]) for phase in result["phases"]]


def row(phase, size):
    log = phase["log"]
    out = sum(x["out"] for x in log) / 1e6
    back = sum(x["back"] for x in log) / 1e6
    formula = phase["formula"] * size / 4 / 1e6         # it counts four bytes a number
    clients = sorted({client for x in log for client in x["clients"]})
    return {"phase": phase["what"], "rounds": phase["rounds"], "asked": ", ".join(map(str, clients)) or "nobody",
            "absent": ", ".join(map(str, phase["left"])), "for": " · ".join(dict.fromkeys(x["order"] for x in log)),
            "messages": sum(x["messages"] for x in log), "MB out": out, "MB back": back, "MB by formula": formula,
            "ratio": (out + back) / formula if formula else float("nan"), "seconds": phase["seconds"]}


def seconds_a_round(result):
    """How long a round took, on average over all that were asked of clients."""
    steps = [x["seconds"] for phase in result["phases"] for x in phase["log"]]
    return sum(steps) / len(steps)


def verdict(result):
    """One sentence: bit-equal, or by how much what differs."""
    found = result["differences"]
    if not found:
        return f"bit-equal: {result['models']} models, {result['tensors']} tensors"
    return (f"not bit-equal: {len(found)} of {result['tensors']} tensors differ from the run in one process, by "
            f"{max(found.values()):.3g} at most")


def report(result):
    """The lines that the command ends with."""
    lines = [f"{'phase':<18}{'rounds':>7}{'messages':>9}{'MB out':>9}{'MB back':>9}{'formula':>9}{'ratio':>7}{'seconds':>9}  asked"]
    for r in rows(result):
        lines.append(f"{r['phase']:<18}{r['rounds']:>7}{r['messages']:>9}{r['MB out']:>9.3f}{r['MB back']:>9.3f}"
                     f"{r['MB by formula']:>9.3f}{r['ratio']:>7.3f}{r['seconds']:>9.1f}  {r['asked']}")
    lines.append(f"MB: of orders and replies; formula: the cost of lib's rounds, at {result['size']} bytes a number")
    lines.append(f"{seconds_a_round(result):.1f} s a round on average; {result['whole']:.1f} s from the start of the "
                 "processes to their end")
    absent = [phase["what"] for phase in result["phases"] if phase["left"]]
    if absent:
        lines.append(f"no node of {named(result['left'])} was there during {', '.join(absent)}")
    lines += result["lost"]
    lines += [f"differs by {value:.3g}: {name}" for name, value in result["differences"].items()]
    return [*lines, verdict(result)]
