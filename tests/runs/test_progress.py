"""The bar outside a kernel: a line now and then, never one for each update."""
from lib.runs import progress as module


def test_a_line_every_so_many_seconds(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.delenv("FU_PROGRESS", raising=False)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    bar = module.progress(9, "rounds")
    for n in range(1, 8):
        clock[0] += module.SECONDS / 2
        bar.update(n)
    assert capsys.readouterr().err == "rounds 2/9\nrounds 4/9\nrounds 6/9\n"


def test_what_is_said_of_a_point():
    assert module.watched({"test_acc": 50.0, "forget_acc": 81.25}) == "forget accuracy 81.2 %"
    assert module.watched({"test_acc": 50.0}) == "test accuracy 50.0 %" and module.watched({}) == ""
