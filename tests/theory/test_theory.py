import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import Bad
from lib.methods import ablation
from lib.theory import information, negation, similarity, spectrum, time


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def net(activation=nn.ReLU, **conv):
    return nn.Sequential(nn.Conv2d(1, 4, 3, **conv), nn.GroupNorm(1, 4), activation(), nn.Flatten(), nn.LazyLinear(3))


@pytest.fixture
def model():
    m = net()
    m(torch.zeros(2, 1, 6, 6))
    return m


@pytest.fixture
def data():
    return torch.randn(40, 1, 6, 6), torch.randint(0, 3, (40,))


# similarity

def test_hsic_is_the_average_over_distinct_quadruples():
    X, Y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    K, L = X @ X.T, Y @ Y.T
    terms = [K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]) for i, j, q, r in itertools.permutations(range(6), 4)]
    assert similarity.hsic1(K, L) == pytest.approx(float(sum(terms) / len(terms)), rel=1e-10)


def test_cka_of_a_representation_with_itself_and_its_invariances():
    X, Y = torch.randn(50, 8), torch.randn(50, 5)
    Y[:, :3] += X[:, :3]
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    value = similarity.cka([(X, Y)])
    assert 0.1 < value < 0.9
    assert similarity.cka([(X, X)]) == pytest.approx(1)
    for Z in (X @ turn, 3 * X, -X, X + 100):
        assert similarity.cka([(Z, Y)]) == pytest.approx(value, abs=1e-4)
        assert similarity.cka([(X, Z)]) == pytest.approx(1, abs=1e-4)


def test_cka_of_independent_features_is_zero_on_average():
    values = [similarity.cka([(torch.randn(16, 64), torch.randn(16, 64)) for _ in range(20)]) for _ in range(30)]
    assert abs(np.mean(values)) < 0.03 and min(values) < 0      # the biased estimator gives about 0.8 here


def test_cka_adds_batches_before_the_ratio():
    pairs = [(torch.randn(12, 4), torch.randn(12, 4)) for _ in range(3)]
    pairs = [(10**i * x, 10**i * (y + x)) for i, (x, y) in enumerate(pairs)]
    sums = sum(similarity._hsics(*p) for p in pairs)
    assert similarity.cka(pairs) == pytest.approx(sums[0] / math.sqrt(sums[1] * sums[2]))
    assert similarity.cka(pairs) != pytest.approx(np.mean([similarity.cka([p]) for p in pairs]), abs=1e-3)


def test_cka_profile_agrees_with_one_batch_and_sees_negation(model, data):
    x = data[0]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["0.weight"], state["0.bias"] = -state["0.weight"], -state["0.bias"]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    got = similarity.cka_profile(model, (model, state), x, ["0", "2", "4"], batch=len(x))
    assert got["0"] == pytest.approx(1)                          # a negated linear map: 1 by algebra
    assert got["2"] < 0.9
    a, b = similarity.activations(model, x, ["2"])["2"], similarity.activations(model, x, ["2"], state)["2"]
    assert got["2"] == pytest.approx(similarity.cka([(a, b)]))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    several = similarity.cka_profile(model, (model, state), x, ["2"], batch=13)       # 13 + 13 + 13, one left out
    parts = [(a[i:i + 13], b[i:i + 13]) for i in (0, 13, 26)]
    assert several["2"] == pytest.approx(similarity.cka(parts), rel=1e-5)


def test_activations_keep_what_an_in_place_activation_overwrites(data):
    m = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)).train()
    got = similarity.activations(m, data[0])
    assert got["0"].min() < 0 <= got["1"].min() and m.training


def test_similarity_refuses_bad_input(model, data):
    with pytest.raises(Bad, match="at least 4"):
        similarity.cka([(torch.randn(3, 2), torch.randn(3, 2))])
    with pytest.raises(Bad, match="same module"):
        similarity.cka_profile(model, model, data[0])
    with pytest.raises(Bad, match="conv9"):
        similarity.activations(model, data[0], ["conv9"])
    with pytest.raises(Bad, match="conv9.weight"):
        similarity.activations(model, data[0], state={"conv9.weight": torch.zeros(1)})


# unlearning time

def test_scaling_the_loss_divides_the_time():
    base = time.unlearning_time(0.7, 0.1, 2.0, 3.0, 0.2)
    assert base == pytest.approx(0.6**2 / (4 * 2.8))
    assert time.unlearning_time(7, 1, 20, 30, 2) == pytest.approx(base / 10)
    assert time.unlearning_time(0.4, 0.4, 2, 3, 0.2) == 0
    assert time.unlearning_time(0.7, 0.1, 2, 3, 0.2, A=2.8) == pytest.approx(base / 2)
    assert time.flow_steps(1.0, 0.01, 0.9) == pytest.approx(10)


def test_gap_gradient_norm_is_the_slope_of_the_gap(model, data):
    x, y = data
    got = time.loss_gap_gradient_norm(model, x[:25], y[:25], x[25:], y[25:], batch=7)
    m, names = model.double(), [n for n, _ in model.named_parameters()]
    x = x.double()

    def gap(state):
        out = torch.func.functional_call(m, state, (x,))
        each = nn.functional.cross_entropy(out, y, reduction="none")
        return each[:25].mean() - each[25:].mean()

    base = dict(m.named_parameters())
    g_r, g_u = time.loss_gradient(m, x[:25], y[:25]), time.loss_gradient(m, x[25:], y[25:])
    direction = {n: (g_r[n] - g_u[n]) / got for n in names}
    with torch.no_grad():
        slope = (gap({n: base[n] + 1e-5 * direction[n] for n in names})
                 - gap({n: base[n] - 1e-5 * direction[n] for n in names})) / 2e-5
    assert float(slope) == pytest.approx(got, rel=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_noise_term_is_the_loss_that_noise_adds_to_a_step():
    rng = np.random.default_rng(0)
    h, lr, theta = np.array([1.0, 3.0, 0.5]), 0.05, np.array([1.0, -1.0, 2.0])
    noise = rng.standard_normal((200, 3)) * [1, 0.2, 2]
    noise -= noise.mean(0)

    def loss(t):
        return 0.5 * (h * t * t).sum(-1)

    added = loss(theta - lr * (h * theta + noise)).mean() - loss(theta - lr * h * theta)
    assert time.noise_term(h * theta + noise, h, lr) * lr == pytest.approx(added * 200 / 199)


def test_theorem_1_on_a_quadratic_and_a_logistic_flow():
    H = torch.tensor([1.0, 4.0, 0.3]).double()
    a, b = torch.zeros(3).double(), torch.tensor([1.0, -2.0, 0.5]).double()
    quadratic = time.gradient_flow(lambda t: (H * (t - a)**2).sum() / 2, lambda t: (H * (t - b)**2).sum() / 2,
                                     [3.0, 2.0, -1.0], 1e-3, 3000, L=float((H * (a - b)).norm()))
    x, z = torch.randn(30, 3).double(), torch.randn(20, 3).double() + 0.5
    logistic = time.gradient_flow(lambda t: nn.functional.softplus(-x @ t - x[:, 0]).mean(),
                                    lambda t: nn.functional.softplus(-z @ t).mean(), [2.0, 2.0, -1.0], 1e-2, 2000)
    for flow in (quadratic, logistic):
        assert (flow["bound"] <= flow["time"] + 1e-9).all() and flow["bound"].max() > 1e-3
        assert flow["loss"][-1] < flow["loss"][0]
    assert (quadratic["bound"] > 0.05 * quadratic["time"]).any()      # near enough that a lost factor would show


def test_theorem_1_with_noise_fails_as_printed_and_holds_corrected():
    got = time.noisy_counterexample(np.random.default_rng(0))
    assert 125 < got["bound"] < 155 and got["corrected"] <= got["time"]
    still = time.noisy_counterexample(np.random.default_rng(0), sigma=0.0)
    assert still["bound"] == 0


# spectrum

def covariance_eigenvalues(true, n, seed=0):
    G = np.random.default_rng(seed).standard_normal((n + 1, len(true))) * np.sqrt(true)
    return spectrum.sample_eigenvalues(G)


def test_identity_covariance_is_recovered_where_the_sample_spectrum_is_not():
    values = covariance_eigenvalues(np.ones(300), 600)
    atoms, weights = spectrum.el_karoui(values, 600, 300)
    assert weights[np.abs(atoms - 1) < 0.1].sum() > 0.95
    assert (np.abs(values - 1) < 0.1).mean() < 0.2
    assert spectrum.alpha_at(atoms, weights, 0.95) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("n", [600, 150])
def test_two_atoms_are_recovered(n):
    values = covariance_eigenvalues(np.repeat([1.0, 8.0], [210, 90]), n)
    atoms, weights = spectrum.el_karoui(values, n, 300)
    assert weights.sum() == pytest.approx(1) and (np.diff(atoms) < 0).all()
    assert weights[np.abs(atoms - 8) < 1.2].sum() == pytest.approx(0.3, abs=0.05)
    assert weights[np.abs(atoms - 1) < 0.5].sum() == pytest.approx(0.7, abs=0.05)
    assert atoms @ weights == pytest.approx(values.mean(), rel=0.03)
    atoms, weights = spectrum.el_karoui(values, n, 300, keep_trace=True)
    assert atoms @ weights == pytest.approx(values.mean(), rel=1e-6)


def test_a_solver_that_gives_up_is_followed_by_another(monkeypatch):
    import scipy.optimize
    values, solve, asked = covariance_eigenvalues(np.ones(60), 120), scipy.optimize.linprog, []

    def tired(*args, method, **kwargs):
        asked.append(method)
        if len(asked) <= failures:
            return scipy.optimize.OptimizeResult(success=False, x=None, message="tired")
        return solve(*args, method=method, **kwargs)

    monkeypatch.setattr(scipy.optimize, "linprog", tired)
    failures = 1
    atoms, weights = spectrum.el_karoui(values, 120, 60)
    assert len(asked) == 2 and atoms @ weights == pytest.approx(values.mean(), rel=0.03)
    failures = 99
    with pytest.raises(Bad, match="tired"):
        spectrum.el_karoui(values, 120, 60)


def test_estimate_scales_with_the_covariance():
    values = covariance_eigenvalues(np.repeat([1.0, 8.0], [70, 30]), 200)
    (a, w), (b, v) = spectrum.el_karoui(values, 200, 100), spectrum.el_karoui(1e-6 * values, 200, 100)
    assert np.allclose(spectrum.content(a, w, [0.1, 0.3, 0.6]), spectrum.content(b, v, [0.1, 0.3, 0.6]), atol=1e-4)
    assert b @ v == pytest.approx(1e-6 * a @ w, rel=1e-4)


def test_content_rises_from_0_to_1_and_is_linear_inside_an_atom():
    atoms, weights = np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.3, 0.2])
    curve = spectrum.content(atoms, weights, np.linspace(0, 1, 101))
    assert curve[0] == 0 and curve[-1] == 1 and (np.diff(curve) >= 0).all()
    assert spectrum.content(atoms, weights, 0.1) == pytest.approx(0.3 / 0.9)
    assert spectrum.content(atoms, weights, 0.35) == pytest.approx((0.6 + 0.15) / 0.9)
    assert spectrum.alpha_at(atoms, weights, 1.0) == pytest.approx(0.5)
    for beta in (0.1, 0.5, 0.9):
        assert spectrum.content(atoms, weights, spectrum.alpha_at(atoms, weights, beta)) == pytest.approx(beta)


def test_sample_eigenvalues_through_gram_and_directly_agree_with_numpy():
    rng = np.random.default_rng(0)
    for b, q in ((12, 30), (30, 12)):
        G = rng.standard_normal((b, q)) + 5
        want = np.linalg.eigvalsh(np.cov(G.T))[::-1].clip(0)
        assert np.allclose(spectrum.sample_eigenvalues(G), want, atol=1e-10)
    assert (spectrum.sample_eigenvalues(rng.standard_normal((12, 30)))[11:] == 0).all()


def test_gradient_matrix_rows_average_to_the_full_gradient(model, data):
    x, y = data
    sets = spectrum.index_sets(model, 20, 3, generator()) + spectrum.index_sets(model, 10**6, 1, generator(), ["4"])
    everything = torch.cat([g.flatten() for g in time.loss_gradient(model, x, y).values()])
    full = list(spectrum.gradient_matrix(model, x, y, len(x), 2, sets, generator()))
    for G, k in zip(full, sets):
        assert G.shape == (2, len(k)) and np.allclose(G, everything[k], atol=1e-5)
    assert len(sets[3]) == model[4].weight.numel() + 3 and sets[3].min() == 48
    one, two = (next(spectrum.gradient_matrix(model, x, y, 8, 4, sets, generator(s))) for s in (1, 1))
    assert np.array_equal(one, two) and one.std(0).max() > 1e-4
    with pytest.raises(Bad, match="batch_size"):
        spectrum.gradient_matrix(model, x, y, 41, 2, sets, generator())
    with pytest.raises(Bad, match="no trainable"):
        spectrum.index_sets(model, 5, 1, generator(), ["nowhere"])


# layer-wise optimality

def test_nr_freeze_negates_and_freezes_only_the_named(model):
    star, fresh = ({k: torch.randn_like(v) for k, v in model.state_dict().items()} for _ in range(2))
    state, mask = ablation.nr_freeze(star, fresh, ["0.weight"])
    assert torch.equal(state["0.weight"], -star["0.weight"]) and not mask["0.weight"].any()
    for name in set(star) - {"0.weight"}:
        assert torch.equal(state[name], fresh[name]) and mask[name].all() and (state[name] != star[name]).any()
    state, mask = ablation.nr_freeze(star, fresh, [])
    assert all(torch.equal(state[k], fresh[k]) and mask[k].all() for k in fresh)
    with pytest.raises(Bad, match="conv9"):
        ablation.nr_freeze(star, fresh, ["conv9"])


@pytest.mark.parametrize("activation,a,b,c", [
    (torch.sigmoid, 1, 1, 1), (torch.tanh, 1, 1, 0), (torch.square, 1, -1, 0),
    (torch.sigmoid, 2, 2, 2), (lambda x: x + 1, 2, 2, 4)])
def test_lemma_8_dense(activation, a, b, c):
    x, w1, b1, w2, b2 = (torch.randn(*s) / 3 for s in ((50, 5), (7, 5), (7,), (3, 7), (3,)))
    w3, b3 = negation.compensate(w2, b2, a, b, c)
    want, got = activation(x @ w1.T + b1) @ w2.T + b2, activation(-(x @ w1.T) - b1) @ w3.T + b3
    assert (got - want).abs().max() < 1e-6
    assert torch.equal(negation.compensate(w2, None, a, b, c)[1] + b2, b3)
    printed = b2 + c * w2.sum(1)
    assert a == 1 or (printed - b3).abs().max() > 0.1            # the paper's c instead of c/a


@pytest.mark.parametrize("name,padding,exact", [("sigmoid", 0, True), ("sigmoid", 1, False), ("tanh", 0, True),
                                                ("tanh", 1, True), ("relu", 0, False)])
def test_lemma_8_convolution(name, padding, exact):
    activation, c = getattr(torch, name), 1.0 if name == "sigmoid" else 0.0
    x, w2, b2 = torch.randn(8, 4, 6, 6), torch.randn(3, 4, 3, 3), torch.randn(3)
    w3, b3 = negation.compensate(w2, b2, 1, 1, c)
    conv = nn.functional.conv2d
    error = (conv(activation(x), w2, b2, padding=padding) - conv(activation(-x), w3, b3, padding=padding)).abs()
    assert (error.max() < 1e-5) == exact
    if name == "sigmoid" and padding:
        assert error[..., 1:-1, 1:-1].max() < 1e-5 < error.max()     # only the border is wrong


# activations

def test_orthant_maximum_is_reached_and_never_exceeded():
    s = torch.tensor([3.0, 1.0, 2.0]).double()
    best = negation.orthant_maximum(s)
    y = torch.randn(200_000, 3, generator=generator()).double().abs()
    y = y / y.norm(dim=1, keepdim=True) * s.norm()
    assert (s - y).square().sum(1).max() <= best
    axis = torch.tensor([0.0, 1.0, 0.0]).double() * s.norm()
    assert (s - axis).square().sum() == pytest.approx(float(best))
    assert best != pytest.approx(float(s.square().sum()), rel=0.1)      # what eq. 23 prints
    assert negation.orthant_maximum(torch.tensor([0.0, 2.0])) == pytest.approx(8)


@pytest.mark.parametrize("n", [8, 64])
def test_lemmas_1_and_2(n):
    one = negation.lemma1(n, 100_000, generator())
    assert one["distance"] == pytest.approx(one["norm"]) and one["norm"] == pytest.approx(n, rel=0.01)
    assert one["distance"] >= one["maximum"] - one["epsilon"] and 0 < one["epsilon"] < one["maximum"]
    two = negation.lemma2(n, 100_000, generator(1))
    assert two["ratio"] == pytest.approx(1 - 1 / math.pi, abs=0.003)
    assert two["ratio_to_maximum"] >= two["ratio"]


def test_perturbations_keep_the_norm():
    for w, b in ((torch.randn(6, 4), torch.randn(6)), (torch.randn(6, 2, 3, 3), None)):
        norm = w.square().sum() + (0 if b is None else b.square().sum())
        for name, (v, c) in negation.layer_perturbations(w, b, generator()).items():
            assert v.shape == w.shape and (c is None) == (b is None)
            assert v.square().sum() + (0 if c is None else c.square().sum()) == pytest.approx(float(norm), rel=1e-4)
            assert not torch.equal(v, w), name


def test_theorem_2_no_norm_matched_change_beats_negation(model, data):
    for at in (None, "1"):
        got = negation.compare_perturbations(model, "0", data[0], generator(), at)
        negate = got["negate"]
        assert negate["distance"] == pytest.approx(2 * got["norm"], abs=negate["epsilon"])
        for name in ("fresh", "permute", "orthogonal"):
            assert negate["distance"] >= got[name]["distance"] - negate["epsilon"] - got[name]["epsilon"]
            assert got[name]["distance"] > 0
    with pytest.raises(Bad, match="conv9"):
        negation.compare_perturbations(model, "conv9", data[0], generator())
    y = torch.randn(4000, 50)
    far, epsilon = negation.activation_distance(y, -y)
    near, _ = negation.activation_distance(y, torch.randn(4000, 50))
    assert far == pytest.approx(50, rel=0.02) and near / far == pytest.approx(1 - 1 / math.pi, abs=0.02) and epsilon > 0


def test_perturbations_are_compared_at_equal_activation_norm():
    layer = nn.Sequential(nn.Linear(3, 20))
    with torch.no_grad():
        layer[0].weight[:, 0] = 0           # blind to the input's loud direction, which any other weight would hear
    x = torch.randn(300, 3) * torch.tensor([30.0, 1.0, 1.0])
    got = negation.compare_perturbations(layer, "0", x, generator())
    for name in ("fresh", "permute", "orthogonal"):
        assert got["norm"] / 4 < got[name]["distance"] <= 2 * got["norm"] + 1e-6


# total variation and Jacobians

def test_units_miss_a_joint_asymmetry_that_the_classifier_finds():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 3))
    y = x.copy()
    y[:, 2] = np.abs(y[:, 2]) * np.sign(x[:, 0] * x[:, 1])      # y1 y2 y3 > 0 always: symmetric alone, not jointly
    assert np.abs(negation.tv_units(y, rng)).max() < 0.12
    joint = negation.tv_joint(y, rng)
    assert joint["tv"] > 0.5 and joint["sd"] < 0.04
    assert negation.tv_joint(y, rng, "logistic")["tv"] < 0.2


def test_total_variation_of_known_laws():
    rng = np.random.default_rng(0)
    symmetric = rng.standard_normal((4000, 5))
    assert abs(negation.tv_units(symmetric, rng).mean()) < 0.02
    assert abs(negation.tv_joint(symmetric, rng, "logistic")["tv"]) < 0.07
    shifted = symmetric[:, :1] + 1          # N(1, 1) against N(-1, 1): TV = 2 Phi(1) - 1
    want = math.erf(1 / math.sqrt(2))
    assert negation.tv_units(shifted, rng)[0] == pytest.approx(want, abs=0.04)
    assert negation.tv_joint(shifted, rng, "logistic")["tv"] == pytest.approx(want, abs=0.04)
    assert (negation.tv_units(np.zeros((100, 2)), rng) == 0).all()
    with pytest.raises(Bad, match="tree"):
        negation.tv_joint(symmetric, rng, "tree")


def test_jacobian_norms_against_one_gradient_per_output(model, data):
    x = data[0][:5]
    got = negation.jacobian_norms(model, x, chunk=2)
    for i in range(5):
        rows = [torch.autograd.grad(model.eval()(x[i:i + 1])[0, c], list(model.parameters())) for c in range(3)]
        for j, (name, _) in enumerate(model.named_parameters()):
            want = math.sqrt(sum(float(row[j].square().sum()) for row in rows))
            assert float(got[name][i]) == pytest.approx(want, rel=1e-4)
    state = {"4.weight": 2 * model[4].weight.detach()}
    twice = negation.jacobian_norms(model, x, state)
    assert torch.allclose(twice["0.weight"], 2 * got["0.weight"], rtol=1e-4)
    assert torch.allclose(twice["4.weight"], got["4.weight"])


# Fisher information

def test_fisher_information_is_half_the_sum_of_squared_ratios():
    rng = np.random.default_rng(0)
    h, h_prime, shift = rng.uniform(0.5, 3, 6), rng.uniform(0, 1, 6), rng.normal(size=6) / 5
    want = 0.5 * ((h_prime / h)**2).sum()
    for C in (1.0, 0.05):
        got, error = information.fisher_information_mc(h, h_prime, C, 100_000, rng)
        assert got == pytest.approx(want, abs=4 * error) and error < 0.02 * want
        assert information.fisher_information(h, h_prime, C) == pytest.approx(want)
        got, error = information.fisher_information_mc(h, h_prime, C, 100_000, rng, shift)
        moved = information.fisher_information(h, h_prime, C, shift)
        assert got == pytest.approx(moved, abs=4 * error) and moved > want + 5 * error
    assert moved > 50 * want        # the term that is dropped dominates as C falls
