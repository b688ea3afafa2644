"""Diagonal curvature of the mean cross-entropy, and the scores and resets built on it (TIS, eqs. 22, 29 and 30).

Pure functions of a model in eval mode, its inputs and its labels. With logits f(x), p = softmax f(x) and a matrix
S S' = diag(p) - p p' of columns s_c = sqrt(p_c) (e_c - p), the diagonal of the generalised Gauss-Newton matrix is
the sum over samples and columns of the squared gradient of <s_c, f(x)>; one column p - e_y with y drawn from p
estimates it. So every kind below is a sum of squared per-sample gradients, and only the columns differ:

    ggn_exact     all the columns s_c
    ggn_mc        `samples` drawn labels
    fisher        p - e_y at the given labels (the empirical Fisher diagonal)
    hessian       equals ggn_exact where the net is piecewise linear in each parameter; otherwise second derivatives
    fisher_batch  the square of each batch's mean gradient (SSD's importance): the one kind that depends on batch_size

Three paths compute the same numbers: `hooks` (one batched backward; the squares are formed layer by layer from what
went in and what came back), `backpack` and `vmap` (per-sample gradients of any net, slow but general).
"""
import copy
import itertools
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call, grad, hessian, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import Bad
from ..fl.task import State

KINDS = ("ggn_exact", "ggn_mc", "hessian", "fisher", "fisher_batch")
PATHS = ("auto", "hooks", "backpack", "vmap")
HESSIAN_LIMIT = 5_000  # parameters of a tensor; the slow Hessian diagonal forms the square of that


def diagonals(model, x, y, groups=None, *, kind="ggn_mc", rng=None, batch_size=256, path="auto", samples=1):
    """Sums over the samples of each group of the curvature of one sample's loss, in one pass (TIS eqs. 29-30).

    x: inputs [N, ...], or a function from a LongTensor of positions to inputs; y: labels [N]; groups: LongTensor [N]
    (None: all 0). Sums over groups, divided by the summed counts, are the curvature of the pooled data.
    rng: a torch.Generator, or its draws themselves, uniforms [samples, N]. Sample n owns column n of the draws, so
    its labels depend neither on path nor on batch_size nor on groups.
    batch_size: gradients per step; `ggn_exact` takes batch_size / classes samples at a time, with the same result.
    Returns ({group: State of sums}, {group: number of samples}).
    """
    if kind not in KINDS or path not in PATHS:
        raise Bad(f"curvature: kind {kind!r}, path {path!r}; kinds are {', '.join(KINDS)}, paths {', '.join(PATHS)}")
    _check_eval(model)
    groups = torch.zeros(len(y), dtype=torch.long) if groups is None else groups.cpu()
    if len(groups) != len(y) or not len(y):
        raise Bad(f"curvature: {len(y)} labels but {len(groups)} groups; there must be one for each, and at least one")
    device = next(model.parameters()).device
    fetch = x if callable(x) else (lambda index: x[index.to(x.device)])
    first = fetch(torch.arange(1)).to(device)
    if kind == "hessian":
        kind, path = _hessian_path(model, first, path)
    elif path == "auto" and kind != "fisher_batch":
        path = "vmap" if _obstacle(model, first) else "hooks"
    classes = model(first).shape[-1]
    draws = _draws(rng, samples, len(y)) if kind == "ggn_mc" else None
    rows = batch_size // {"ggn_exact": classes, "ggn_mc": samples}.get(kind, 1)
    step = _steps(model, kind, path)

    sums, counts = {}, {}
    for group in groups.unique().tolist():
        members = (groups == group).nonzero().flatten()
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        for index in members.split(max(1, rows)):
            labels = y[index.to(y.device)].to(device)
            some = None if draws is None else draws[:, index.to(draws.device)].to(device)
            columns = partial(_columns, labels=labels, kind=kind, draws=some)
            for name, value in step(fetch(index).to(device), labels, columns).items():
                total[name] += value
        sums[group], counts[group] = total, len(members)
    return sums, counts


def diagonal(model, x, y, **options) -> State:
    """Diagonal curvature of the mean cross-entropy over (x, y); options as for `diagonals`."""
    return mean(*diagonals(model, x, y, **options))


def mean(sums, counts, groups=None) -> State:
    """Curvature of the mean loss over the union of some groups (None: all), from what `diagonals` returns."""
    chosen = [g for g in sums if groups is None or g in groups]
    if not chosen:
        raise Bad(f"curvature: none of the groups {groups} has samples; those that have: {sorted(sums)}")
    count = sum(counts[g] for g in chosen)
    return {name: sum(sums[g][name] for g in chosen) / count for name in sums[chosen[0]]}


def _check_eval(model):
    for name, module in model.named_modules():
        if module.training or (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None):
            raise Bad(f"curvature: {name or 'the model'} trains or normalises by the batch; call model.eval()")


def _draws(rng, samples, n):
    if rng is None:
        raise Bad("curvature: kind 'ggn_mc' draws labels and needs rng (a torch.Generator)")
    draws = rng if isinstance(rng, Tensor) else torch.rand(samples, n, generator=rng, dtype=torch.float64,
                                                           device=rng.device)
    if draws.shape != (samples, n):
        raise Bad(f"curvature: draws of shape {tuple(draws.shape)}, but {samples} for each of {n} samples are needed")
    return draws


def _columns(logits, labels, kind, draws):
    """Columns [C, N, classes] whose squared gradients are summed; in float64, to keep 1 - p of confident nets."""
    p = logits.detach().double().softmax(-1)
    if kind == "ggn_exact":
        s = p.sqrt().T[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype, device=p.device)[:, None] - p)
    else:
        if kind == "ggn_mc":
            labels = (p.cumsum(-1) < draws[..., None].double()).sum(-1).clamp(max=p.shape[1] - 1)
        s = (p - F.one_hot(labels, p.shape[1])).reshape(-1, *p.shape) / (1 if draws is None else len(draws) ** 0.5)
    return s.to(logits.dtype)


def _steps(model, kind, path):
    """The function (x, labels, columns) -> State of sums over a batch, for one kind and path."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    if kind == "fisher_batch":
        return partial(_batch_step, model, params)
    if path == "backpack":
        return _backpack_step(model, kind)
    return partial(_hessian_step if kind == "hessian" else _vmap_step if path == "vmap" else _hooks_step, model, params)


def _batch_step(model, params, x, labels, columns):
    grads = grad(lambda p: F.cross_entropy(functional_call(model, p, (x,)), labels))(params)
    return {name: g.square() * len(x) for name, g in grads.items()}


# ---- hooks: squares of per-sample gradients, layer by layer ----


def _record(model, params, x):
    """Logits and {layer name: (module, its input, gradient edge of its output)}; Bad names what cannot be covered."""
    if len(params) < len(list(model.named_parameters(remove_duplicate=False))):
        raise Bad("curvature: two layers share a parameter, which path 'hooks' cannot square; use path 'vmap'")
    layers = {name: m for name, m in model.named_modules() if list(m.parameters(recurse=False))}
    tape, handles, anchor = {}, [], torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)

    def hook(name, module, inputs, output):
        if name in tape:
            raise Bad(f"curvature: {name} is used twice in one forward pass; use path 'vmap'")
        if not output.requires_grad:
            output = output + anchor  # weights are detached: the graph begins at the first layers
        # the edge stays that of this very output, even when an in-place ReLU overwrites the tensor
        tape[name] = module, inputs[0].detach(), get_gradient_edge(output)
        return output

    try:
        for name, module in layers.items():
            if type(module) not in RULES:
                raise Bad(f"curvature: path 'hooks' has no rule for {name} ({type(module).__name__}); use path 'vmap'")
            handles.append(module.register_forward_hook(partial(hook, name)))
        with torch.enable_grad():
            logits = functional_call(model, params, (x,))
    finally:
        for handle in handles:
            handle.remove()
    if unused := layers.keys() - tape.keys():
        raise Bad(f"curvature: {min(unused)} is not called as a module in the forward pass; use path 'vmap'")
    return logits, tape


def _obstacle(model, x):
    """Why path 'hooks' cannot be used, or None."""
    try:
        _record(model, {name: p.detach() for name, p in model.named_parameters()}, x)
    except Bad as reason:
        return str(reason)


def _hooks_step(model, params, x, labels, columns):
    logits, tape = _record(model, params, x)
    edges, s = [edge for _, _, edge in tape.values()], columns(logits)
    if len(s) == 1:
        grads = [g if g is None else g[None] for g in torch.autograd.grad(logits, edges, s[0], allow_unused=True)]
    else:
        grads = torch.autograd.grad(logits, edges, s, allow_unused=True, is_grads_batched=True)
    out = {}
    for (name, (module, u, _)), g in zip(tape.items(), grads):
        values = {} if g is None else RULES[type(module)](module, g, u)
        out |= {f"{name}.{key}".lstrip("."): v for key, v in values.items() if getattr(module, key) is not None}
    return out


def _linear(m, g, u):
    """g [C, N, *, O], u [N, *, K]: the positions * are summed before the square."""
    g, u = g.reshape(*g.shape[:2], -1, g.shape[-1]), u.reshape(len(u), -1, u.shape[-1])
    if _few(g.shape[2], len(g)):
        weight = _pairs(_gram(g.transpose(1, 2)), u.transpose(0, 1), *[torch.arange(g.shape[2], device=g.device)] * 2)
    else:
        weight = _products(g.transpose(2, 3), u, torch.zeros_like(m.weight))
    return {"weight": weight, "bias": g.sum(2).square().sum((0, 1))}


def _conv(m, g, u):
    """g [C, N, O, h, w], u [N, I, H, W]; grouped convolutions go group by group."""
    zeros, pads = m.padding_mode == "zeros", m._reversed_padding_repeated_twice
    u = F.pad(u, pads, "constant" if zeros else m.padding_mode)
    pairs = zip(g.chunk(m.groups, 2), u.chunk(m.groups, 1))
    parts = [_conv_one(m, *pair, pads if zeros else [0] * 4) for pair in pairs]
    return {"weight": torch.cat(parts) if len(parts) > 1 else parts[0], "bias": g.sum((3, 4)).square().sum((0, 1))}


def _conv_one(m, g, u, pads):
    (c, n, o, h, w), (i, high, wide) = g.shape, u.shape[1:]
    (kh, kw), (sh, sw), (dh, dw) = m.kernel_size, m.stride, m.dilation
    if _few(h * w, c):  # small maps: tap by tap, without the positions where a tap only sees padding
        out = g.new_zeros(kh, kw, o, i)
        gram, pixels = _gram(g.permute(0, 3, 4, 1, 2).flatten(1, 2)), u.permute(2, 3, 0, 1).flatten(0, 1).contiguous()
        for a, b in itertools.product(range(kh), range(kw)):
            at = [(r * w + s, (r * sh + a * dh) * wide + s * sw + b * dw) for r in range(h) for s in range(w)
                  if pads[2] <= r * sh + a * dh < high - pads[3] and pads[0] <= s * sw + b * dw < wide - pads[1]]
            if at:
                out[a, b] = _pairs(gram, pixels, *torch.tensor(at, device=g.device).T)
        return out.permute(2, 3, 0, 1)
    if g.device.type == "cpu" and (i == 1 or i >= 16) and o * i * kh * kw <= 2**16:
        return _grouped(m, g, u)
    out = g.new_zeros(o, kh * kw * i)
    u = u.contiguous(memory_format=torch.channels_last)
    n0, i0, h0, w0 = u.stride()
    windows = u.as_strided((n, h, w, kh, kw, i), (n0, h0 * sh, w0 * sw, h0 * dh, w0 * dw, i0))
    some = 4 if g.device.type == "cpu" else n  # on a CPU what stays in cache is fastest
    for k in range(0, n, some):
        _products(g[:, k:k + some].flatten(3), windows[k:k + some].reshape(-1, h * w, kh * kw * i), out)
    return out.view(o, kh, kw, i).permute(0, 3, 1, 2)


def _grouped(m, g, u, some=8):
    """Per-sample weight gradients as the weight gradient of one convolution with a group for each sample."""
    (o, *maps), (n, i, *padded), k = g.shape[2:], u.shape, m.kernel_size
    out = g.new_zeros(o * i * k[0] * k[1])
    for rows in torch.arange(len(g) * n).split(some):
        uk, gk = u[rows % n].reshape(1, -1, *padded), g.flatten(0, 1)[rows].reshape(1, -1, *maps)
        each = torch.nn.grad.conv2d_weight(uk, (len(rows) * o, i, *k), gk, m.stride, 0, m.dilation, len(rows))
        for one in each.view(len(rows), -1):
            out.addcmul_(one, one)
    return out.view(o, i, *k)


def _few(positions, columns):
    """Whether products of pairs of positions are cheaper than per-sample gradients (measured on a CPU)."""
    return positions < 4 * columns + 2


def _gram(g):
    """[C, P, N, O] -> [P, P, N, O], summed over columns."""
    g = g.contiguous()
    out = g[0][:, None] * g[0]
    for one in g[1:]:
        out.addcmul_(one[:, None], one)
    return out


def _pairs(gram, u, rows, cols):
    """sum_n (sum_p g_p u_p)^2 as one product over n and pairs p <= q; rows and cols: positions in gram and in u."""
    i, j = torch.triu_indices(len(rows), len(rows), device=u.device)
    left = gram[rows[i], rows[j]] * (2 - (i == j).to(u.dtype))[:, None, None]
    return left.flatten(0, 1).T @ (u[cols[i]] * u[cols[j]]).flatten(0, 1)


def _products(g, u, out):
    """Add sum_{c,n} (g_cn u_n)^2 to out [O, K]; g [C, N, O, P], u [N, P, K]."""
    if g.device.type == "cpu":
        one = torch.empty_like(out)
        for c, n in itertools.product(range(g.shape[0]), range(g.shape[1])):
            torch.mm(g[c, n], u[n], out=one)
            out.addcmul_(one, one)
    else:
        for gc, k in itertools.product(g, torch.arange(len(u)).split(max(1, 2**28 // out.numel()))):
            out += torch.bmm(gc[k[0]:k[-1] + 1], u[k[0]:k[-1] + 1]).square_().sum(0)
    return out


def _norm(m, g, u):
    positions = range(3, g.dim())
    if isinstance(m, nn.LayerNorm):
        unit, positions = F.layer_norm(u, m.normalized_shape, eps=m.eps), range(2, g.dim() - len(m.normalized_shape))
    elif isinstance(m, nn.GroupNorm):
        unit = F.group_norm(u, m.num_groups, eps=m.eps)
    else:
        unit = F.batch_norm(u, m.running_mean, m.running_var, eps=m.eps)
    each = {"weight": g * unit, "bias": g}
    return {k: (v.sum(tuple(positions)) if positions else v).square().sum((0, 1)) for k, v in each.items()}


RULES = {nn.Linear: _linear, nn.Conv2d: _conv, nn.BatchNorm1d: _norm, nn.BatchNorm2d: _norm, nn.GroupNorm: _norm,
         nn.LayerNorm: _norm}


# ---- vmap, BackPACK, Hessian ----


def _vmap_step(model, params, x, labels, columns):
    """Per-sample gradients of any net, a chunk of samples at a time; one forward and backward for each column."""
    each = vmap(grad(lambda p, one, s: (functional_call(model, p, (one[None],))[0] * s).sum()), (None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    some = max(1, (2**26 if x.device.type == "cpu" else 2**30) // sum(p.numel() for p in params.values()))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused layers of eval mode have no derivative
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the only attention with a rule for batches of gradients
            s = columns(model(x))
            for k, c in itertools.product(range(0, len(x), some), range(len(s))):
                for name, g in each(params, x[k:k + some], s[c, k:k + some]).items():
                    total[name] += g.square().sum(0)  # not in place: gradients may share memory
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return total


def _backpack_step(model, kind):
    """BackPACK's extensions on a copy; a Monte-Carlo gradient is an ordinary one at the drawn labels."""
    from backpack import backpack, extend, extensions
    chosen = {"ggn_exact": extensions.DiagGGNExact, "hessian": extensions.DiagHessian}.get(kind)
    extension = (chosen or extensions.SumGradSquared)()
    net, loss = copy.deepcopy(model).requires_grad_(True), extend(nn.CrossEntropyLoss(reduction="sum"))
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    net = extend(net, use_converter=not _is_chain(net)).eval()

    def step(x, labels, columns):
        total = {}
        for one in [None] if chosen else columns(net(x)):
            try:
                with backpack(extension):
                    (loss(net(x), labels) if one is None else (net(x) * one).sum()).backward()
            except NotImplementedError as reason:
                raise Bad(f"curvature: BackPACK lacks {type(extension).__name__}: {str(reason)[:200]}") from None
            for name, p in net.named_parameters():
                if not hasattr(p, extension.savefield):
                    raise Bad(f"curvature: BackPACK lacks {type(extension).__name__} for {name}; use path 'hooks'")
                total[name] = total.get(name, 0) + getattr(p, extension.savefield).detach()
        return total
    return step


def _is_chain(module):
    """Whether the net is a plain chain of layers, all that BackPACK differentiates twice."""
    return all(_is_chain(m) for m in module) if isinstance(module, nn.Sequential) else not list(module.children())


PIECEWISE = {"Add", "Addmm", "AdaptiveAvgPool2D", "Alias", "AvgPool2D", "Cat", "Clone", "Convolution", "Hardtanh",
             "LeakyRelu", "MaxPool2DWithIndices", "Mean", "NativeBatchNorm", "Permute", "Relu", "ReshapeAlias",
             "Squeeze", "T", "Transpose", "UnsafeView", "Unsqueeze", "View"}


def _hessian_path(model, x, path):
    """(kind, path) for an exact Hessian diagonal.

    Where the net is piecewise linear in each single parameter (ReLU, pooling, eval-mode BatchNorm, residual sums), the
    second derivative of the logits is zero and the diagonal is that of the GGN. BackPACK serves plain chains only.
    """
    obstacle = _obstacle(model, x)
    curved = [obstacle] if obstacle else sorted(_operations(model, x) - PIECEWISE)
    if path in ("auto", "hooks") and not curved:
        return "ggn_exact", "hooks"
    small = max(p.numel() for p in model.parameters()) <= HESSIAN_LIMIT
    if path == "backpack" or (path == "auto" and not small and _is_chain(model)):
        return "hessian", "backpack"
    if path == "hooks" or not small:
        raise Bad(f"curvature: no fast Hessian diagonal for a net with {', '.join(curved)}, and the slow one only for "
                  f"tensors of at most {HESSIAN_LIMIT} parameters; use kind 'ggn_exact'")
    return "hessian", "vmap"


def _operations(model, x):
    """Names of the operations between the logits and the first layers."""
    logits, _ = _record(model, {name: p.detach() for name, p in model.named_parameters()}, x)
    seen, todo = set(), [logits.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [other for other, _ in node.next_functions]
    return {node.name().split("Backward")[0] for node in seen} - {"torch::autograd::AccumulateGrad"}


def _hessian_step(model, params, x, labels, columns):
    """The whole Hessian of each tensor, for its diagonal: for tiny nets and for tests."""
    def loss(name, value):
        return F.cross_entropy(functional_call(model, {**params, name: value}, (x,)), labels, reduction="sum")

    return {name: hessian(partial(loss, name))(p).view(p.numel(), -1).diagonal().view(p.shape)
            for name, p in params.items()}


# ---- scores and selections ----


def tis(h_forget: State, h_all: State) -> State:
    """TIS score (h'/h)^2 (TIS eq. 22), per scalar; 0 where h <= 0, for there the score is not defined."""
    return {k: torch.where(h > 0, h_forget[k] / torch.where(h > 0, h, 1), 0).square() for k, h in h_all.items()}


def select(scores: State, gamma):
    """Per tensor, the smallest set of top entries whose scores reach gamma percent of the tensor's total (TIS, sec. 3).

    gamma: a number in [0, 100] (gives a State of bool) or several of them (a list of States, from one sort).
    Zero scores are never selected; ties go by position; a larger gamma selects a superset.
    """
    gammas = [gamma] if isinstance(gamma, int | float) else list(gamma)
    if not all(0 <= g <= 100 for g in gammas):
        raise Bad(f"select: gamma is a percentage, so in [0, 100]; got {gamma}")
    masks = [{} for _ in gammas]
    for name, score in scores.items():
        flat = score.detach().flatten().double()
        if not bool((flat.isfinite() & (flat >= 0)).all()):
            raise Bad(f"select: the scores of {name} are not all finite and non-negative")
        order = flat.argsort(descending=True, stable=True)
        reached, positive = flat[order].cumsum(0), int((flat > 0).sum())
        for mask, g in zip(masks, gammas):
            # a sum that falls short by rounding alone counts as reached
            count = int(torch.searchsorted(reached, reached[-1:] * (g / 100 * (1 - 1e-12)))) + 1
            top = order[:0 if g == 0 else positive if g == 100 else min(count, positive)]
            mask[name] = torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, top, True).view(score.shape)
    return masks[0] if isinstance(gamma, int | float) else masks


def random_like(masks: State, rng) -> State:
    """Random Reset: per tensor as many entries as in masks, uniform without replacement (TIS, sec. 4)."""
    def draw(mask):
        chosen = torch.randperm(mask.numel(), generator=rng, device=rng.device)[:int(mask.sum())]
        return torch.zeros_like(mask).view(-1).index_fill_(0, chosen.to(mask.device), True).view(mask.shape)

    return {name: draw(mask) for name, mask in masks.items()}
