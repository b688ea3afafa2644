"""Curvature: closed forms, agreement of all paths, sums over groups, and the selections."""

import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from lib.errors import Bad
from lib.methods import curvature
from lib.methods.curvature import diagonal, diagonals, mean, random_like, select, tis

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook", "ignore:Extension saving", "ignore:.*jit.script")


def chain(norm=False, bias=True):
    """Small convolutional nets; maps of 10x10 (products per sample) and of 2x2 (pairs of positions)."""
    def after(width):
        return [nn.GroupNorm(1, width)] if norm else []
    layers = [nn.Conv2d(2, 16, 3, padding=1, bias=bias), *after(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
              nn.Conv2d(16, 6, 3, stride=2, padding=1), *after(6), nn.ReLU(), nn.MaxPool2d(2),
              nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5, 4)]
    return nn.Sequential(*layers)


def build(make, seed=0, like=(2, 10, 10), n=9, classes=4):
    """(model in eval mode and float64, inputs, labels), every parameter and statistic away from its default."""
    torch.manual_seed(seed)
    model = make().double().eval()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    for b in model.buffers():
        if b.is_floating_point():
            b.copy_(b + 0.2 * torch.rand_like(b))
    return model, torch.randn(n, *like, dtype=torch.float64), torch.randint(classes, (n,))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def gap(a, b):
    """Largest difference, relative to the largest entry of its tensor."""
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max() / b[k].abs().max().clamp(min=1e-30)) for k in b)


class Tokens(nn.Module):
    """Linear and LayerNorm over positions [N, P, D], BatchNorm1d on features."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(10, 7), nn.LayerNorm([10, 7]), nn.Linear(7, 4)
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.bn(self.b(F.gelu(self.norm(self.a(x.flatten(1, 2))[:, :10]))).mean(1))


def strange():
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding="same", dilation=2, padding_mode="reflect", groups=2), nn.ReLU(),
                         nn.Conv2d(8, 8, (3, 2), stride=(2, 1), groups=8, bias=False), nn.Tanh(),
                         nn.Flatten(), nn.Linear(288, 4))


NETS = {"chain": chain, "groupnorm": lambda: chain(norm=True), "no bias": lambda: chain(bias=False),
        "tokens": Tokens, "strange": strange}


def test_a_linear_softmax_model_has_the_analytic_diagonal():
    model, x, y = build(lambda: nn.Linear(3, 4), like=(3,))
    p = model(x).softmax(1).detach()
    expected = {"weight": (p * (1 - p)).T @ x.square() / len(x), "bias": (p * (1 - p)).mean(0)}
    for kind in ("ggn_exact", "hessian"):
        for path in ("hooks", "vmap", "backpack"):
            assert gap(diagonal(model, x, y, kind=kind, path=path), expected) < 1e-12
    error = F.one_hot(y, 4) - p
    assert gap(diagonal(model, x, y, kind="fisher"),
               {"weight": error.square().T @ x.square() / len(x), "bias": error.square().mean(0)}) < 1e-12


@pytest.mark.parametrize("kind", ["ggn_exact", "ggn_mc", "fisher"])
@pytest.mark.parametrize("net", NETS)
def test_the_hooks_agree_with_vmap(net, kind):
    model, x, y = build(NETS[net])
    hooks, general = (diagonal(model, x, y, kind=kind, path=path, rng=rng(), samples=2) for path in ("hooks", "vmap"))
    assert gap(hooks, general) < 1e-9
    assert curvature._obstacle(model, x) is None  # so "auto" takes the hooks


@pytest.mark.parametrize("net", ["chain", "no bias"])
def test_the_hooks_agree_with_backpack(net):
    model, x, y = build(NETS[net])
    for kind in ("ggn_exact", "ggn_mc", "fisher"):
        ours, theirs = (diagonal(model, x, y, kind=kind, path=path, rng=rng()) for path in ("hooks", "backpack"))
        assert gap(ours, theirs) < 1e-6


def test_channels_last_changes_nothing():
    model, x, y = build(chain)
    for kind in ("ggn_exact", "ggn_mc"):
        plain = diagonal(model, x, y, kind=kind, rng=rng())
        last = diagonal(model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last), y,
                        kind=kind, rng=rng())
        assert gap(last, plain) < 1e-9


@pytest.mark.parametrize("net", NETS)
def test_where_columns_cannot_be_batched_they_go_one_by_one(net, monkeypatch):
    model, x, y = build(NETS[net])
    wanted = diagonal(model, x, y, kind="ggn_exact", path="hooks")
    derive = torch.autograd.grad

    def unbatched(*args, is_grads_batched=False, **kw):
        if is_grads_batched:
            raise RuntimeError("NYI: querying is_contiguous inside of vmap")
        return derive(*args, **kw)

    monkeypatch.setattr(torch.autograd, "grad", unbatched)
    assert gap(diagonal(model, x, y, kind="ggn_exact", path="hooks"), wanted) < 1e-12


def test_resnet18_in_eval_mode():
    model, x, y = build(lambda: torchvision.models.resnet18(num_classes=3), like=(3, 32, 32), n=2, classes=3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ours, general, theirs = (diagonal(model, x, y, rng=rng(), path=path) for path in ("hooks", "vmap", "backpack"))
    assert gap(ours, general) < 1e-6 and gap(ours, theirs) < 1e-6
    exact, general = (diagonal(model, x, y, kind="ggn_exact", path=path) for path in ("hooks", "vmap"))
    assert gap(exact, general) < 1e-6
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules()) and all(p.grad is None for p in model.parameters())


def test_a_vision_transformer_goes_by_vmap():
    def tiny():
        return torchvision.models.VisionTransformer(8, 4, 2, 2, 16, 24, num_classes=4)
    model, x, y = build(tiny, like=(3, 8, 8), n=3)
    with pytest.raises(Bad, match="class_token|VisionTransformer"):
        diagonal(model, x, y, rng=rng(), path="hooks")
    h = diagonal(model, x, y, rng=rng())
    assert h.keys() == dict(model.named_parameters()).keys()
    draws = torch.rand(1, 3, generator=rng(), dtype=torch.float64)
    assert gap(h, diagonal(model, x, y, rng=draws, batch_size=1)) < 1e-9
    reference = {k: torch.zeros_like(p) for k, p in model.named_parameters()}  # one sample at a time
    for i in range(3):
        logits = model(x[i:i + 1])
        label = (logits.softmax(1).cumsum(1)[0] < draws[0, i]).sum()[None]
        grads = torch.autograd.grad(F.cross_entropy(logits, label), list(model.parameters()))
        for k, g in zip(reference, grads):
            reference[k] += g.square() / 3
    assert gap(h, reference) < 1e-9


def test_drawn_labels_converge_to_the_exact_diagonal():
    model, x, y = build(chain, n=4)
    exact = diagonal(model, x, y, kind="ggn_exact")
    drawn = diagonal(model, x, y, rng=rng(), samples=4000, path="hooks", batch_size=4000)
    for name, h in exact.items():
        assert abs(float(drawn[name].sum() / h.sum()) - 1) < 0.05
    assert gap(drawn, exact) < 0.05


def loss_of(model, x, y, params):
    return F.cross_entropy(torch.func.functional_call(model, params, (x,)), y)


def test_the_hessian_diagonal_is_the_true_one():
    for make, like, fast in ((lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)), (3,), False),
                             (lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)), (3,), True)):
        model, x, y = build(make, like=like)
        params = {k: p.detach() for k, p in model.named_parameters()}
        full = torch.func.hessian(partial(loss_of, model, x, y))(params)
        true = {k: full[k][k].reshape(p.numel(), -1).diagonal().view(p.shape) for k, p in params.items()}
        for path in ("auto", "vmap", "backpack"):
            assert gap(diagonal(model, x, y, kind="hessian", path=path), true) < 1e-9
        assert (curvature._hessian_path(model, x, "auto") == ("ggn_exact", "hooks")) is fast
        assert (gap(diagonal(model, x, y, kind="ggn_exact"), true) < 1e-9) is fast


def test_the_hessian_of_a_large_curved_net_is_refused():
    model, x, y = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(200, 200), Tail()))
    with pytest.raises(Bad, match="ggn_exact"):
        diagonal(model, x, y, kind="hessian")


class Tail(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(200, 4)

    def forward(self, x):
        return self.out(torch.sigmoid(x))


def test_residual_nets_have_the_gauss_newton_diagonal_as_hessian():
    model, x, _ = build(lambda: torchvision.models.resnet18(num_classes=3), like=(3, 32, 32), n=1, classes=3)
    assert curvature._hessian_path(model, x, "auto") == ("ggn_exact", "hooks")


@pytest.mark.parametrize("kind", ["ggn_mc", "ggn_exact"])
def test_sums_over_groups_are_the_pooled_curvature(kind):
    model, x, y = build(chain)
    groups = torch.tensor([0, 3, 1, 0, 3, 3, 1, 0, 2])
    draws = torch.rand(1, len(y), generator=rng(), dtype=torch.float64)
    sums, counts = diagonals(model, x, y, groups, kind=kind, rng=draws)
    assert counts == {0: 3, 1: 2, 2: 1, 3: 3}
    assert gap(mean(sums, counts), diagonal(model, x, y, kind=kind, rng=draws)) < 1e-12
    for g in range(4):  # eqs. 29-30: what each client computes alone, weighted by its number of samples
        alone = diagonal(model, x[groups == g], y[groups == g], kind=kind, rng=draws[:, groups == g])
        assert gap({k: v / counts[g] for k, v in sums[g].items()}, alone) < 1e-12
    both = mean(sums, counts, [1, 3])
    some = (groups == 1) | (groups == 3)
    assert gap(both, diagonal(model, x[some], y[some], kind=kind, rng=draws[:, some])) < 1e-12


@pytest.mark.parametrize("kind", ["ggn_mc", "ggn_exact", "fisher"])
def test_the_batch_size_does_not_matter(kind):
    model, x, y = build(lambda: chain(norm=True))
    one, all_ = (diagonal(model, x, y, kind=kind, rng=rng(), batch_size=b) for b in (2, 100))
    assert gap(one, all_) < 1e-10
    by_function = diagonal(model, lambda index: x[index], y, kind=kind, rng=rng())
    assert gap(by_function, all_) < 1e-12


def test_fisher_batch_squares_the_gradient_of_each_batch():
    model, x, y = build(lambda: nn.Linear(3, 4), like=(3,), n=5)
    expected = {k: torch.zeros_like(p) for k, p in model.named_parameters()}
    for part in torch.arange(5).split(2):
        g = torch.autograd.grad(F.cross_entropy(model(x[part]), y[part]), model.parameters())
        for k, v in zip(expected, g):
            expected[k] += v.square() * len(part) / 5
    assert gap(diagonal(model, x, y, kind="fisher_batch", batch_size=2), expected) < 1e-12


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.Linear(3, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.out(self.layer(torch.tanh(self.layer(x))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.out(self.b(torch.tanh(self.a(x))))


@pytest.mark.parametrize("make, word", [(Twice, "layer is used twice"), (Tied, "share"),
                                        (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU()), "PReLU")])
def test_what_the_hooks_cannot_square_goes_by_vmap_and_says_so(make, word):
    model, x, y = build(make, like=(3,))
    with pytest.raises(Bad, match=word):
        diagonal(model, x, y, path="hooks", rng=rng())
    assert gap(diagonal(model, x, y, rng=rng()), diagonal(model, x, y, rng=rng(), path="vmap")) == 0


def test_what_backpack_lacks_is_named():
    model, x, y = build(lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU()), like=(3,))
    with pytest.raises(Bad, match="GELU"):
        diagonal(model, x, y, path="backpack", kind="ggn_exact")
    model, x, y = build(NETS["groupnorm"])
    with pytest.raises(Bad, match="GroupNorm|1.weight"):
        diagonal(model, x, y, path="backpack", rng=rng())


def test_bad_requests_are_refused():
    model, x, y = build(chain)
    for options, word in (({"kind": "ggn"}, "ggn_exact"), ({"kind": "ggn_mc"}, "rng"),
                          ({"rng": torch.rand(1, 3)}, "9 samples")):
        with pytest.raises(Bad, match=word):
            diagonal(model, x, y, **options)
    with pytest.raises(Bad, match="groups"):
        diagonals(model, x, y, torch.zeros(3), rng=rng())
    with pytest.raises(Bad, match="eval"):
        diagonal(model.train(), x, y, rng=rng())


def test_confident_samples_keep_their_curvature_in_float32():
    model = nn.Linear(1, 2, bias=False).eval()
    model.weight.data = torch.tensor([[20.0], [-20.0]])  # p = 1 - 4e-18: 1 - p is 0 in float32
    h = diagonal(model, torch.full((1, 1), 0.5), torch.zeros(1, dtype=torch.long), kind="ggn_exact")
    assert torch.allclose(h["weight"], torch.full((2, 1), 0.25 * 2.0612e-9), rtol=1e-3)


# ---- scores and selections ----


def test_target_data_equal_to_all_data_scores_one_everywhere():
    model, x, y = build(chain)
    sums, counts = diagonals(model, x, y, torch.ones(len(y), dtype=torch.long), rng=rng())
    for score, h in zip(tis(mean(sums, counts, [1]), mean(sums, counts)).values(), mean(sums, counts).values()):
        assert torch.equal(score, (h > 0).double())


def test_the_score_ignores_the_scale_of_the_loss_and_negative_curvature():
    h, all_ = {"w": torch.tensor([1.0, 2, 3, 4])}, {"w": torch.tensor([2.0, 4, 0, -1])}
    score = tis(h, all_)
    assert score["w"].tolist() == [0.25, 0.25, 0, 0]
    scaled = tis({"w": h["w"] * 8}, {"w": all_["w"] * 8})
    assert torch.equal(score["w"], scaled["w"])


def test_select_takes_the_smallest_top_set():
    scores = {"a": torch.tensor([[1.0, 4], [3, 0]]), "b": torch.zeros(3), "c": torch.ones(10)}
    half, none, full = select(scores, [50, 0, 100])
    assert half["a"].tolist() == [[False, True], [False, False]]  # 4 of 8
    assert select(scores, 50.1)["a"].tolist() == [[False, True], [True, False]]
    assert not any(mask.any() for mask in none.values())
    assert all(torch.equal(full[k], scores[k] > 0) for k in scores)
    assert half["c"].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]  # ties by position
    assert select({"c": torch.ones(100)}, 7)["c"].sum() == 7
    for gamma in (-1, 101):
        with pytest.raises(Bad, match="percentage"):
            select(scores, gamma)
    with pytest.raises(Bad, match="of a are"):
        select({"a": torch.tensor([1.0, float("nan")])}, 5)


def test_the_authors_code_takes_what_is_strictly_above_the_score_nearest_to_gamma():
    """Running sums of [6, 3, 1] are 6, 9, 10: 70 percent is nearest to the first, above which there is nothing."""
    scores = {"w": torch.tensor([1.0, 6.0, 3.0])}
    found = [select(scores, gamma, rule="code")["w"].tolist() for gamma in (0, 70, 80, 100)]
    assert found == [[False, False, False], [False, False, False], [False, True, False], [False, True, True]]
    ties = {"w": torch.tensor([2.0, 2.0, 2.0, 1.0])}      # at 4 of 7: nearest is the second, above it there is none
    assert not select(ties, 57, rule="code")["w"].any() and select(ties, 57)["w"].sum() == 2


def test_selections_are_nested():
    scores = {"w": torch.randn(7, 50, generator=rng()).pow(4), "v": torch.rand(40, generator=rng()).round(decimals=1)}
    masks = select(scores, list(range(0, 101, 5)))
    for smaller, larger in itertools.pairwise(masks):
        for name in scores:
            assert not (smaller[name] & ~larger[name]).any() and larger[name].sum() >= smaller[name].sum()
    share = (scores["w"] * masks[10]["w"]).sum() / scores["w"].sum()
    assert 0.5 <= share <= 0.5 + scores["w"][masks[10]["w"]].min() / scores["w"].sum() + 1e-6


def test_random_selections_have_equal_counts():
    scores = {"w": torch.rand(30, 20, generator=rng()), "b": torch.tensor([0.0, 1, 2])}
    masks = select(scores, 30)
    a, b, again = random_like(masks, rng(1)), random_like(masks, rng(2)), random_like(masks, rng(1))
    for name in masks:
        assert a[name].shape == masks[name].shape and a[name].sum() == b[name].sum() == masks[name].sum()
        assert torch.equal(a[name], again[name])
    assert not torch.equal(a["w"], b["w"])
    everything = select({"w": scores["w"] + 1}, 100)
    assert torch.equal(random_like(everything, rng())["w"], everything["w"])
    often = sum(random_like({"w": torch.arange(4) < 1}, rng(s))["w"].long() for s in range(400))
    assert 60 < int(often.min()) and int(often.max()) < 140  # uniform: 100 each


def test_a_random_reset_does_not_depend_on_the_order_of_tensors():
    masks = {name: torch.arange(20) < n for name, n in (("b", 5), ("a", 9), ("c", 0))}
    turned = dict(reversed(masks.items()))
    one, other = (random_like(m, torch.Generator().manual_seed(0)) for m in (masks, turned))
    assert all(torch.equal(one[k], other[k]) and one[k].sum() == masks[k].sum() for k in masks)
