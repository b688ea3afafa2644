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
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from .params import Bad

State = dict[str, Tensor]
KINDS = ("ggn_exact", "ggn_mc", "hessian", "fisher", "fisher_batch")
PATHS = ("auto", "hooks", "backpack", "vmap")
HESSIAN_LIMIT = 20_000  # parameters; the plain Hessian diagonal costs one Hessian-vector product for each


def diagonals(model, x, y, groups=None, *, kind="ggn_mc", rng=None, batch_size=256, path="auto", samples=1):
    """Sums over the samples of each group of the curvature of one sample's loss, all groups in one pass (TIS eqs. 29-30).

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
    with torch.no_grad():
        classes = model(first).shape[-1]
    draws = _draws(rng, samples, len(y)) if kind == "ggn_mc" else None
    rows = batch_size if kind == "fisher_batch" else batch_size // {"ggn_exact": classes, "ggn_mc": samples}.get(kind, 1)
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
    chosen = list(sums) if groups is None else [g for g in groups if g in sums]
    if not chosen:
        raise Bad(f"curvature: none of the groups {groups} has samples; those that have: {sorted(sums)}")
    count = sum(counts[g] for g in chosen)
    return {name: sum(sums[g][name] for g in chosen) / count for name in sums[chosen[0]]}


def _check_eval(model):
    for name, module in model.named_modules():
        if module.training:
            raise Bad(f"curvature: {name or 'the model'} is in training mode; call model.eval() first")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise Bad(f"curvature: {name} normalises by the batch, so no sample has a gradient of its own")


def _draws(rng, samples, n):
    if rng is None:
        raise Bad("curvature: kind 'ggn_mc' draws labels and needs rng (a torch.Generator)")
    if isinstance(rng, Tensor):
        if rng.shape != (samples, n):
            raise Bad(f"curvature: draws of shape {tuple(rng.shape)}, but {samples} for each of {n} samples are needed")
        return rng
    return torch.rand(samples, n, generator=rng, dtype=torch.float64, device=rng.device)


def _columns(logits, labels, kind, draws):
    """Columns [C, N, classes] whose squared gradients are summed; in float64, where 1 - p of a confident net survives."""
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
        def step(x, labels, columns):
            grads = grad(lambda p: F.cross_entropy(functional_call(model, p, (x,)), labels))(params)
            return {name: g.square() * len(x) for name, g in grads.items()}
    elif kind == "hessian":
        step = _backpack_step(model, kind) if path == "backpack" else _hessian_step(model, params)
    elif path == "vmap":
        step = _vmap_step(model, params)
    elif path == "backpack":
        step = _backpack_step(model, kind)
    else:
        def step(x, labels, columns):
            return _hooks_step(model, params, x, columns)
    return step


# ---- hooks: squares of per-sample gradients, layer by layer ----


def _record(model, params, x):
    """Logits and {layer name: (module, its input, gradient edge of its output)}; Bad names what cannot be covered."""
    layers = {name: m for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))}
    if len(params) < sum(len(m._parameters) - list(m._parameters.values()).count(None) for m in layers.values()):
        raise Bad("curvature: two layers share a parameter, which path 'hooks' cannot square; use path 'vmap'")
    tape, handles, anchor = {}, [], torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)

    def hook(name, module, inputs, output):
        if name in tape:
            raise Bad(f"curvature: {name} is used twice in one forward pass; use path 'vmap'")
        if not output.requires_grad:
            output = output + anchor  # weights are detached: the graph begins at the first layers
        # the edge stays that of this very output, even when an in-place ReLU overwrites the tensor
        tape[name] = module, inputs[0].detach(), get_gradient_edge(output)
        return output

    for name, module in layers.items():
        if type(module) not in RULES:
            raise Bad(f"curvature: path 'hooks' has no rule for {name or 'the model'} ({type(module).__name__}); "
                      "use path 'vmap'")
    try:
        for name, module in layers.items():
            handles.append(module.register_forward_hook(partial(hook, name)))
        with torch.enable_grad():
            logits = functional_call(model, params, (x,))
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in tape:
            raise Bad(f"curvature: {name} is not called as a module in the forward pass; use path 'vmap'")
    return logits, tape


def _obstacle(model, x):
    """Why path 'hooks' cannot be used, or None."""
    try:
        _record(model, {name: p.detach() for name, p in model.named_parameters()}, x)
    except Bad as reason:
        return str(reason)


def _hooks_step(model, params, x, columns):
    logits, tape = _record(model, params, x)
    edges, s = [edge for _, _, edge in tape.values()], columns(logits)
    if len(s) == 1:
        grads = [g if g is None else g[None] for g in torch.autograd.grad(logits, edges, s[0], allow_unused=True)]
    else:
        grads = torch.autograd.grad(logits, edges, s, allow_unused=True, is_grads_batched=True)
    out = {}
    for (name, (module, u, _)), g in zip(tape.items(), grads):
        if g is not None:
            for kind, value in RULES[type(module)](module, g, u).items():
                if getattr(module, kind) is not None:
                    out[f"{name}.{kind}" if name else kind] = value
    return out


def _linear(m, g, u):
    """g [C, N, *, O], u [N, *, K]: the positions * are summed before the square."""
    g, u = g.reshape(*g.shape[:2], -1, g.shape[-1]), u.reshape(len(u), -1, u.shape[-1])
    if _few(g.shape[2], len(g)):
        every = torch.arange(g.shape[2], device=g.device)
        weight = _pairs(_gram(g.transpose(1, 2)), u.transpose(0, 1), every, every)
    else:
        weight = _products(g.transpose(2, 3), u, torch.zeros_like(m.weight))
    return {"weight": weight, "bias": g.sum(2).square().sum((0, 1))}


def _conv(m, g, u):
    """g [C, N, O, h, w], u [N, I, H, W]; grouped convolutions go group by group."""
    mode = "constant" if m.padding_mode == "zeros" else m.padding_mode
    pads = m._reversed_padding_repeated_twice
    parts = [_conv_one(m, a, F.pad(b, pads, mode), pads if mode == "constant" else (0, 0, 0, 0))
             for a, b in zip(g.chunk(m.groups, 2), u.chunk(m.groups, 1))]
    return {"weight": torch.cat(parts), "bias": g.sum((3, 4)).square().sum((0, 1))}


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
    n0, _, h0, w0 = u.stride()
    windows = u.as_strided((n, h, w, kh, kw, i), (n0, h0 * sh, w0 * sw, h0 * dh, w0 * dw, 1))
    some = 4 if g.device.type == "cpu" else max(1, 2**28 // out.numel())  # on a CPU what stays in cache is fastest
    for k in range(0, n, some):
        _products(g[:, k:k + some].flatten(3), windows[k:k + some].reshape(-1, h * w, kh * kw * i), out)
    return out.view(o, kh, kw, i).permute(0, 3, 1, 2)


def _grouped(m, g, u, some=8):
    """Per-sample weight gradients as the weight gradient of one convolution with a group for each sample."""
    (c, n, o), i = g.shape[:3], u.shape[1]
    g, out = g.transpose(0, 1).reshape(n * c, o, *g.shape[3:]), g.new_zeros(o * i * m.kernel_size[0] * m.kernel_size[1])
    for k in range(0, n * c, some):
        gk = g[k:k + some]
        uk = u[torch.arange(k, k + len(gk), device=u.device) // c]
        each = torch.nn.grad.conv2d_weight(
            uk.reshape(1, -1, *u.shape[2:]), (len(gk) * o, i, *m.kernel_size), gk.reshape(1, -1, *g.shape[2:]),
            m.stride, 0, m.dilation, len(gk))
        for one in each.view(len(gk), -1):
            out.addcmul_(one, one)
    return out.view(o, i, *m.kernel_size)


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
        for gc in g:
            out += torch.bmm(gc, u).square_().sum(0)
    return out


def _affine(m, g, unit, positions):
    """Weight and bias after normalising to `unit`."""
    def square(per_sample):
        return (per_sample.sum(positions) if positions else per_sample).square().sum((0, 1))
    return {"weight": square(g * unit), "bias": square(g)}


def _batch_norm(m, g, u):
    unit = F.batch_norm(u, m.running_mean, m.running_var, eps=m.eps)
    return _affine(m, g, unit, tuple(range(3, g.dim())))


def _group_norm(m, g, u):
    return _affine(m, g, F.group_norm(u, m.num_groups, eps=m.eps), tuple(range(3, g.dim())))


def _layer_norm(m, g, u):
    unit = F.layer_norm(u, m.normalized_shape, eps=m.eps)
    return _affine(m, g, unit, tuple(range(2, g.dim() - len(m.normalized_shape))))


RULES = {nn.Linear: _linear, nn.Conv2d: _conv, nn.BatchNorm1d: _batch_norm, nn.BatchNorm2d: _batch_norm,
         nn.GroupNorm: _group_norm, nn.LayerNorm: _layer_norm}


# ---- vmap, BackPACK, Hessian ----


def _vmap_step(model, params):
    """Per-sample gradients of any net, a chunk of samples at a time; one forward and backward for each column."""
    def output(p, one, s):
        return (functional_call(model, p, (one[None],))[0] * s).sum()
    each = vmap(grad(output), in_dims=(None, 0, 0))
    numel = sum(p.numel() for p in params.values())

    def step(x, labels, columns):
        with torch.no_grad():
            s = columns(model(x))
        total = {name: torch.zeros_like(p) for name, p in params.items()}
        some = max(1, (2**26 if x.device.type == "cpu" else 2**30) // numel)
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the fused layers of eval mode have no derivative
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the only attention with a rule for batches of gradients
                for k in range(0, len(x), some):
                    for one in s[:, k:k + some]:
                        for name, g in each(params, x[k:k + some], one).items():
                            total[name] += g.square().sum(0)  # not in place: gradients may share memory
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return total
    return step


def _backpack_step(model, kind):
    """BackPACK's extensions on a copy; a Monte-Carlo gradient is an ordinary one at the drawn labels."""
    from backpack import backpack, extend, extensions
    extension, field = {"ggn_exact": (extensions.DiagGGNExact, "diag_ggn_exact"),
                        "hessian": (extensions.DiagHessian, "diag_h")}.get(
                            kind, (extensions.SumGradSquared, "sum_grad_squared"))
    net = copy.deepcopy(model).requires_grad_(True)
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    net = extend(net, use_converter=not _is_chain(net)).eval()
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(value):
        with backpack(extension()):
            value.backward()
        for name, p in net.named_parameters():
            if not hasattr(p, field):
                raise Bad(f"curvature: BackPACK has no {extension.__name__} for {name}; use path 'hooks' or 'vmap'")
        return {name: getattr(p, field).detach() for name, p in net.named_parameters()}

    def step(x, labels, columns):
        try:
            if extension is not extensions.SumGradSquared:
                return run(loss(net(x), labels))
            logits = net(x)
            outs = [run((net(x) * s).sum()) for s in columns(logits)]
            return {name: sum(out[name] for out in outs) for name in outs[0]}
        except NotImplementedError as reason:
            raise Bad(f"curvature: BackPACK has no {extension.__name__} for a layer of this net; "
                      f"use path 'hooks' or 'vmap' ({str(reason)[:200]})") from None
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
    curved = sorted(_operations(model, x) - PIECEWISE) if obstacle is None else [obstacle]
    small = sum(p.numel() for p in model.parameters()) <= HESSIAN_LIMIT
    if path in ("auto", "hooks") and not curved:
        return "ggn_exact", "hooks"
    if path == "backpack" or (path == "auto" and not small and _is_chain(model)):
        return "hessian", "backpack"
    if path == "hooks" or not small:
        raise Bad(f"curvature: no fast Hessian diagonal for this net, which is not piecewise linear ({', '.join(curved)}), "
                  f"and more than {HESSIAN_LIMIT} parameters are too many for the slow one; use kind 'ggn_exact'")
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


def _hessian_step(model, params):
    """One Hessian-vector product (forward over reverse) for each parameter: for tiny nets and for tests."""
    def step(x, labels, columns):
        def gradient(p):
            return grad(lambda q: F.cross_entropy(functional_call(model, q, (x,)), labels, reduction="sum"))(p)

        def entry(name, unit):
            zeros = {key: unit if key == name else torch.zeros_like(p) for key, p in params.items()}
            return (jvp(gradient, (params,), (zeros,))[1][name] * unit).sum()

        out = {}
        for name, p in params.items():
            parts = [vmap(partial(entry, name))(F.one_hot(index, p.numel()).to(p).view(-1, *p.shape))
                     for index in torch.arange(p.numel(), device=p.device).split(64)]
            out[name] = torch.cat(parts).view(p.shape)
        return out
    return step


# ---- scores and selections ----


def tis(h_forget: State, h_all: State) -> State:
    """TIS score (h'/h)^2 (TIS eq. 22), per scalar; 0 where h <= 0, for there the score is not defined."""
    return {name: torch.where(h > 0, h_forget[name] / torch.where(h > 0, h, 1), 0).square()
            for name, h in h_all.items()}


def select(scores: State, gamma):
    """Per tensor, the smallest set of top entries whose scores add up to gamma percent of the tensor's total (TIS, sec. 3).

    gamma: a number in [0, 100] (gives a State of bool) or several of them (a list of States, from one sort).
    Zero scores are never selected; ties go by position; a larger gamma selects a superset.
    """
    many = isinstance(gamma, (list, tuple))
    gammas = [float(g) for g in (gamma if many else [gamma])]
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
            wanted = reached[-1:] * (g / 100 * (1 - 1e-12))
            count = 0 if g == 0 else positive if g == 100 else int(torch.searchsorted(reached, wanted)) + 1
            mask[name] = torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, order[:min(count, positive)], True)
            mask[name] = mask[name].view(score.shape)
    return masks if many else masks[0]


def random_like(masks: State, rng) -> State:
    """Random Reset: per tensor as many entries as in masks, uniform without replacement (TIS, sec. 4)."""
    out = {}
    for name, mask in masks.items():
        chosen = torch.randperm(mask.numel(), generator=rng, device=rng.device)[:int(mask.sum())].to(mask.device)
        flat = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
        out[name] = flat.index_fill_(0, chosen, True).view(mask.shape)
    return out
