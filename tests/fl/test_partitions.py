import pytest
import torch

from lib.errors import Bad
from lib.fl.backdoor import add_trigger
from lib.fl.partitions import dirichlet, divide, iid, preferential, split_validation, stratified, tis_dirichlet
from lib.fl.rng import generator

BALANCED = torch.arange(10).repeat(500)


def uneven():
    return torch.cat([torch.full((60 + 17 * c,), c) for c in range(10)])[torch.randperm(1365, generator=generator(1))]


def counts(labels, parts):
    return torch.stack([labels[part].bincount(minlength=10) for part in parts])


@pytest.mark.parametrize("kind, kw", [("iid", {}), ("dirichlet", {"beta": 0.1}), ("dirichlet", {"beta": 5.0}),
                                      ("preferential", {}), ("tis_dirichlet", {"beta": 0.8})])
@pytest.mark.parametrize("labels", [BALANCED, uneven()], ids=["balanced", "uneven"])
def test_partitions_are_disjoint_sorted_and_cover(kind, kw, labels):
    before = labels.clone()
    parts = divide(kind, labels, 5, generator(0, kind), **kw)
    joined = torch.cat(parts)
    assert len(parts) == 5 and all(p.dtype == torch.long and torch.equal(p, p.sort().values) for p in parts)
    assert len(joined.unique()) == len(joined) and joined.min() >= 0 and joined.max() < len(labels)
    assert (len(joined) == len(labels)) == (kind != "tis_dirichlet")
    assert torch.equal(labels, before)
    again = divide(kind, labels, 5, generator(0, kind), **kw)
    other = divide(kind, labels, 5, generator(1, kind), **kw)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(parts, other, strict=True))


def test_iid_sizes_and_mixture():
    sizes = [len(p) for p in iid(uneven(), 7, generator(3))]
    assert sum(sizes) == 1365 and max(sizes) - min(sizes) <= 1
    assert (counts(BALANCED, iid(BALANCED, 5, generator(3))) > 70).all()  # 100 expected, sd 9


def test_dirichlet_is_skewed_for_small_beta_and_iid_for_large():
    even = counts(BALANCED, dirichlet(BALANCED, 5, generator(0), beta=1e7))
    assert ((even - 100).abs() <= 2).all()
    skewed = counts(BALANCED, dirichlet(BALANCED, 5, generator(0), beta=0.1)).double()
    assert (skewed.max(0).values / skewed.sum(0)).mean() > 0.6


def test_dirichlet_keeps_min_size_or_says_which_keys_to_change():
    for seed in range(5):
        assert min(len(p) for p in dirichlet(uneven(), 8, generator(seed), beta=0.1, min_size=60)) >= 60
    with pytest.raises(Bad, match="beta 0.01 .*min_size 400"):
        dirichlet(BALANCED, 10, generator(0), beta=0.01, min_size=400)
    with pytest.raises(Bad, match="min_size: 600"):
        dirichlet(BALANCED, 10, generator(0), beta=1.0, min_size=600)


def test_preferential_numbers_of_ten_classes_and_five_clients():
    parts = preferential(BALANCED, 5, generator(0))
    held = counts(BALANCED, parts)
    expected = torch.cat([torch.full((5, 5), 100), torch.eye(5, dtype=torch.long) * 500], 1)
    assert torch.equal(held, expected)  # 10 % from each shared class, 50 % of its own


def test_preferential_own_class_is_absent_elsewhere_whatever_the_sizes():
    held = counts(uneven(), preferential(uneven(), 3, generator(0)))
    assert torch.equal(held[:, 7:] > 0, torch.eye(3, dtype=torch.bool))
    assert (held[:, :7].max(0).values - held[:, :7].min(0).values <= 1).all()
    with pytest.raises(Bad, match="clients: 11"):
        preferential(BALANCED, 11, generator(0))
    with pytest.raises(Bad, match="class 8"):
        preferential(BALANCED[BALANCED != 8], 5, generator(0))


def test_tis_dirichlet_gives_equal_sizes_and_uses_about_56_percent():
    used = []
    for seed in range(40):
        parts = tis_dirichlet(BALANCED, 5, generator(seed), beta=0.8)
        assert len({len(p) for p in parts}) == 1
        used.append(sum(map(len, parts)) / len(BALANCED))
    assert 0.51 < sum(used) / len(used) < 0.61
    held = counts(BALANCED, tis_dirichlet(BALANCED, 5, generator(0), beta=0.8)).sum(0)
    assert held.max() >= 495  # the scarcest class is used up but for rounding
    with pytest.raises(Bad, match="fewer clients"):
        tis_dirichlet(torch.arange(10), 10, generator(0), beta=0.01)


@pytest.mark.parametrize("call, words", [
    (lambda: divide("dirichelet", BALANCED, 5, generator(0)), "no partition 'dirichelet'; nearest partition: dirichlet"),
    (lambda: divide("dirichlet", BALANCED, 5, generator(0)), "partition dirichlet: it needs the argument 'beta'"),
    (lambda: divide("dirichlet", BALANCED, 5, generator(0), beta=-1.0), "partition dirichlet.beta: -1.0 is outside 0.001 to 1e\\+06"),
    (lambda: divide("tis_dirichlet", BALANCED, 5, generator(0), beta=0), "partition tis_dirichlet.beta: 0 is outside"),
    (lambda: divide("iid", BALANCED, 0, generator(0)), "clients: 0"),
    (lambda: divide("iid", BALANCED[:3], 4, generator(0)), "clients: 4 .*to 3"),
    (lambda: divide("iid", BALANCED.double(), 4, generator(0)), "integers"),
    (lambda: divide("iid", BALANCED - 1, 4, generator(0)), "integers >= 0"),
    (lambda: split_validation(torch.arange(5), 1.0, generator(0)), "val_share: 1.0"),
    (lambda: split_validation(torch.arange(1), 0.9, generator(0)), "none to train"),
    (lambda: stratified(BALANCED, 1.5, generator(0)), "share: 1.5"),
])
def test_bad_arguments_are_named(call, words):
    with pytest.raises(Bad, match=words):
        call()


def test_split_validation():
    indices = torch.arange(100, 225)
    train, val = split_validation(indices, 0.2, generator(0))
    assert len(train) == 100 and len(val) == 25
    assert torch.equal(torch.cat([train, val]).sort().values, indices)
    assert torch.equal(train, train.sort().values) and torch.equal(val, val.sort().values)
    assert not torch.equal(val, split_validation(indices, 0.2, generator(1))[1])
    train, val = split_validation(indices, 0, generator(0))
    assert torch.equal(train, indices) and len(val) == 0


@pytest.mark.parametrize("share", [0, 0.2, 1 / 3, 100 / 1365, 1])
def test_stratified_takes_each_class_in_proportion(share):
    labels = uneven()
    rest, chosen = stratified(labels, share, generator(0))
    assert len(chosen) == round(share * 1365)
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(1365))
    off = labels[chosen].bincount(minlength=10) - share * labels.bincount()
    assert off.abs().max() < 1


def test_generator_is_a_function_of_its_name():
    draw = [torch.randn(4, generator=generator(*name)) for name in
            [(0, "train", 1, 2), (0, "train", 1, 2), (0, "train", 12), (1, "train", 1, 2), (0, "recover", 1, 2)]]
    assert torch.equal(draw[0], draw[1])
    assert not any(torch.equal(draw[0], d) for d in draw[2:])
    assert generator(0, "a").initial_seed() == 17234191583336360940  # the same on every machine and version


def test_trigger_is_the_four_pixels_of_the_box():
    x = torch.zeros(2, 3, 28, 30, dtype=torch.uint8)
    changed = (add_trigger(x)[1, 2] == 255).nonzero().tolist()
    # H - 4 .. H - 2 and W - 4 .. W - 2
    assert changed == [[24, 28], [25, 27], [26, 26], [26, 28]]
    assert x.sum() == 0


@pytest.mark.parametrize("x", [torch.randint(0, 255, (3, 3, 32, 32), generator=generator(0), dtype=torch.uint8),
                               torch.rand(3, 1, 8, 8, generator=generator(0), dtype=torch.float64)])
def test_trigger_changes_four_pixels_once(x):
    x[:, :, -4:, -4:] = 0
    source = x.clone()
    marked = add_trigger(x)
    assert ((marked != x).any(1).sum((1, 2)) == 4).all()
    assert torch.equal(x, source) and marked.data_ptr() != x.data_ptr() and marked.dtype == x.dtype
    assert torch.equal(add_trigger(marked), marked)
    assert marked.max() == (255 if x.dtype == torch.uint8 else x.max())
    assert (add_trigger(x, 7)[:, :, -2, -2] == 7).all()
    assert add_trigger(x[:0]).shape == x[:0].shape


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (1, 3, 7, 28)])
def test_trigger_refuses_single_and_tiny_images(shape):
    with pytest.raises(Bad, match="batch"):
        add_trigger(torch.zeros(shape))
