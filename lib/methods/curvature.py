"""Diagonal curvature of the mean cross-entropy, and the scores and resets built on it (TIS, eqs. 28 to 30).

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
    """Sums over the samples of each group of the curvature of one sample's loss, in one pass (TIS, eqs. 29 and 30).

    x: inputs [N, ...], or a function from a LongTensor of positions to inputs; y: labels [N]; groups: LongTensor [N]
    (None: all 0). Sums over groups, divided by the summed counts, are the curvature of the pooled data.
    rng: a torch.Generator, or its draws themselves, uniforms [samples, N]. Sample n owns column n of the draws, so
    its labels depend neither on path nor on batch_size nor on groups.
    batch_size: gradients per step; `ggn_exact` takes batch_size / classes samples at a time, with the same result.
    Returns ({group: State of sums}, {group: number of samples}). Bad where the model is not in evaluation mode, where
    the path cannot serve the net, and where labels and groups differ in number.
    """
    _check(model, y, groups, kind, path)
    device = next(model.parameters()).device
    fetch = x if callable(x) else (lambda index: x[index.to(x.device)])
    first = fetch(torch.arange(1)).to(device)
    kind, path = _choose_path(model, first, kind, path)
    step = _step(model, kind, path)
    draws = _draws(rng, samples, len(y)) if kind == "ggn_mc" else None
    rows = _rows(kind, batch_size, samples, classes=model(first).shape[-1])
    groups = torch.zeros(len(y), dtype=torch.long) if groups is None else groups.cpu()

    sums, counts = {}, {}
    for group in groups.unique().tolist():
        members = (groups == group).nonzero().flatten()
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        for index in members.split(rows):
            labels = y[index.to(y.device)].to(device)
            own_draws = None if draws is None else draws[:, index.to(draws.device)].to(device)
            columns = partial(_columns, labels=labels, kind=kind, draws=own_draws)
            for name, value in step(fetch(index).to(device), labels, columns).items():
                total[name] += value
        sums[group] = total
        counts[group] = len(members)
    return sums, counts


def diagonal(model, x, y, **options) -> State:
    """Diagonal curvature of the mean cross-entropy over (x, y), a State; options as for `diagonals`.

    >>> net = torch.nn.Linear(1, 2, bias=False).eval()
    >>> _ = torch.nn.init.zeros_(net.weight)
    >>> diagonal(net, torch.tensor([[2.0]]), torch.tensor([0]), kind="ggn_exact")["weight"].flatten()
    tensor([1.0000, 1.0000])
    """
    return mean(*diagonals(model, x, y, **options))


def mean(sums, counts, groups=None) -> State:
    """Curvature of the mean loss over the union of some groups (None: all), from what `diagonals` returns (TIS, eq. 30).

    Bad where none of the groups has samples.
    """
    chosen = list(sums) if groups is None else [group for group in sums if group in groups]
    if not chosen:
        raise Bad(f"curvature: none of the groups {groups} has samples; those that have: {sorted(sums)}")
    count = sum(counts[group] for group in chosen)
    names = sums[chosen[0]]
    return {name: sum(sums[group][name] for group in chosen) / count for name in names}


def _check(model, y, groups, kind, path):
    """Bad for what `diagonals` cannot work with."""
    if kind not in KINDS or path not in PATHS:
        raise Bad(f"curvature: kind {kind!r}, path {path!r}; kinds are {', '.join(KINDS)}, paths {', '.join(PATHS)}")
    for name, module in model.named_modules():
        by_batch = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        if module.training or by_batch:
            raise Bad(f"curvature: {name or 'the model'} trains or normalises by the batch; call model.eval()")
    count = len(y) if groups is None else len(groups)
    if count != len(y) or not len(y):
        raise Bad(f"curvature: {len(y)} labels but {count} groups; there must be one for each, and at least one")


def _choose_path(model, x, kind, path):
    """`(kind, path)` with `auto` resolved for this net; an exact Hessian may be had as an exact GGN."""
    if kind == "hessian":
        return _hessian_path(model, x, path)
    if path == "auto" and kind != "fisher_batch":
        path = "vmap" if _obstacle(model, x) else "hooks"
    return kind, path


def _rows(kind, batch_size, samples, classes):
    """Samples at a time, so that about `batch_size` gradients are."""
    columns = {"ggn_exact": classes, "ggn_mc": samples}.get(kind, 1)
    return max(1, batch_size // columns)


def _draws(rng, samples, n):
    """Uniform numbers `[samples, n]` that choose the labels."""
    if rng is None:
        raise Bad("curvature: kind 'ggn_mc' draws labels and needs rng (a torch.Generator)")
    if isinstance(rng, Tensor):
        draws = rng
    else:
        draws = torch.rand(samples, n, generator=rng, dtype=torch.float64, device=rng.device)
    if draws.shape != (samples, n):
        raise Bad(f"curvature: draws of shape {tuple(draws.shape)}, but {samples} for each of {n} samples are needed")
    return draws


def _columns(logits, labels, kind, draws):
    """Columns [C, N, classes] whose squared gradients are summed; in float64, to keep 1 - p of confident nets."""
    p = logits.detach().double().softmax(-1)
    classes = p.shape[1]
    if kind == "ggn_exact":
        e = torch.eye(classes, dtype=p.dtype, device=p.device)[:, None]
        root = p.sqrt().T[:, :, None]
        return (root * (e - p)).to(logits.dtype)
    if kind == "ggn_mc":
        below = p.cumsum(-1) < draws[..., None].double()
        labels = below.sum(-1).clamp(max=classes - 1)
    s = (p - F.one_hot(labels, classes)).reshape(-1, *p.shape)
    if draws is not None:
        s = s / len(draws) ** 0.5
    return s.to(logits.dtype)


def _step(model, kind, path):
    """The function (x, labels, columns) -> State of sums over a batch, for one kind and path."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    if kind == "fisher_batch":
        return partial(_batch_step, model, params)
    if path == "backpack":
        return _backpack_step(model, kind)
    if kind == "hessian":
        return partial(_hessian_step, model, params)
    if path == "vmap":
        return partial(_vmap_step, model, params)
    return partial(_hooks_step, model, params)


def _batch_step(model, params, x, labels, columns):
    def loss(params):
        return F.cross_entropy(functional_call(model, params, (x,)), labels)

    return {name: g.square() * len(x) for name, g in grad(loss)(params).items()}


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
    out = {}
    for (name, (module, u, _)), g in zip(tape.items(), _output_gradients(logits, tape, columns(logits)), strict=True):
        if g is None:  # the logits do not depend on this layer
            continue
        for key, value in RULES[type(module)](module, g, u).items():
            if getattr(module, key) is not None:
                out[f"{name}.{key}".lstrip(".")] = value
    return out


def _output_gradients(logits, tape, s):
    """For each layer the gradients [C, N, ...] of the columns s with respect to its output, or None."""
    edges = [edge for _, _, edge in tape.values()]
    if len(s) == 1:
        return [None if g is None else g[None] for g in torch.autograd.grad(logits, edges, s[0], allow_unused=True)]
    try:
        return torch.autograd.grad(logits, edges, s, retain_graph=True, allow_unused=True, is_grads_batched=True)
    except RuntimeError:    # a layer's derivative cannot be batched: GroupNorm's on a CPU, channels last, in torch 2.11
        each = [torch.autograd.grad(logits, edges, column, retain_graph=True, allow_unused=True) for column in s]
        return [None if gs[0] is None else torch.stack(gs) for gs in zip(*each, strict=True)]


def _linear(m, g, u):
    """g [C, N, *, O], u [N, *, K]: the positions * are summed before the square."""
    g = g.reshape(*g.shape[:2], -1, g.shape[-1])
    u = u.reshape(len(u), -1, u.shape[-1])
    positions = g.shape[2]
    if _few(positions, len(g)):
        every = torch.arange(positions, device=g.device)
        weight = _pairs(_gram(g.transpose(1, 2)), u.transpose(0, 1), every, every)
    else:
        weight = _products(g.transpose(2, 3), u, torch.zeros_like(m.weight))
    return {"weight": weight, "bias": g.sum(2).square().sum((0, 1))}


def _conv(m, g, u):
    """g [C, N, O, h, w], u [N, I, H, W]; grouped convolutions go group by group."""
    pads = m._reversed_padding_repeated_twice
    if m.padding_mode == "zeros":
        u, empty = F.pad(u, pads), pads
    else:
        u, empty = F.pad(u, pads, m.padding_mode), [0] * 4
    pairs = zip(g.chunk(m.groups, 2), u.chunk(m.groups, 1), strict=True)
    parts = [_conv_one(m, g_part, u_part, empty) for g_part, u_part in pairs]
    weight = parts[0] if len(parts) == 1 else torch.cat(parts)
    return {"weight": weight, "bias": g.sum((3, 4)).square().sum((0, 1))}


def _conv_one(m, g, u, empty):
    """One group of a convolution, by the fastest of three ways; u is padded, `empty`: by how many zeros a side."""
    columns, _, outputs, height, width = g.shape
    inputs = u.shape[1]
    if _few(height * width, columns):
        return _taps(m, g, u, empty)
    weights = outputs * inputs * m.kernel_size[0] * m.kernel_size[1]
    if g.device.type == "cpu" and (inputs == 1 or inputs >= 16) and weights <= 2**16:
        return _grouped(m, g, u)
    return _windows(m, g, u)


def _taps(m, g, u, empty):
    """For small maps: tap by tap of the kernel, without the positions where a tap only sees padding."""
    (outputs, height, width), (inputs, *_) = g.shape[2:], u.shape[1:]
    gram = _gram(g.permute(0, 3, 4, 1, 2).flatten(1, 2))
    pixels = u.permute(2, 3, 0, 1).flatten(0, 1).contiguous()
    out = g.new_zeros(*m.kernel_size, outputs, inputs)
    for a, b in itertools.product(*map(range, m.kernel_size)):
        down = _seen(height, m.stride[0], a * m.dilation[0], u.shape[2], empty[2:])
        right = _seen(width, m.stride[1], b * m.dilation[1], u.shape[3], empty[:2])
        places = [(r * width + s, i * u.shape[3] + j) for (r, i), (s, j) in itertools.product(down, right)]
        if places:
            at_output, at_pixel = torch.tensor(places, device=g.device).T
            out[a, b] = _pairs(gram, pixels, at_output, at_pixel)
    return out.permute(2, 3, 0, 1)


def _seen(positions, stride, shift, side, empty):
    """Along one axis, `(position of the output, pixel that a tap sees from there)`, without padding."""
    pixels = [(r, r * stride + shift) for r in range(positions)]
    return [(r, i) for r, i in pixels if empty[0] <= i < side - empty[1]]


def _windows(m, g, u):
    """Per-sample weight gradients as products with the windows that the kernel sees."""
    (_, n, o, h, w), i = g.shape, u.shape[1]
    (kh, kw), (sh, sw), (dh, dw) = m.kernel_size, m.stride, m.dilation
    u = u.contiguous(memory_format=torch.channels_last)
    n0, i0, h0, w0 = u.stride()
    windows = u.as_strided((n, h, w, kh, kw, i), (n0, h0 * sh, w0 * sw, h0 * dh, w0 * dw, i0))
    some = 4 if g.device.type == "cpu" else n  # on a CPU what stays in cache is fastest
    out = g.new_zeros(o, kh * kw * i)
    for k in range(0, n, some):
        seen = windows[k:k + some].reshape(-1, h * w, kh * kw * i)
        _products(g[:, k:k + some].flatten(3), seen, out)
    return out.view(o, kh, kw, i).permute(0, 3, 1, 2)


def _grouped(m, g, u, some=8):
    """Per-sample weight gradients as the weight gradient of one convolution with a group for each sample."""
    o, *maps = g.shape[2:]
    n, i, *padded = u.shape
    out = g.new_zeros(o * i * m.kernel_size[0] * m.kernel_size[1])
    for rows in torch.arange(len(g) * n).split(some):
        count = len(rows)
        inputs = u[rows % n].reshape(1, -1, *padded)
        gradients = g.flatten(0, 1)[rows].reshape(1, -1, *maps)
        shape = (count * o, i, *m.kernel_size)
        each = torch.nn.grad.conv2d_weight(inputs, shape, gradients, m.stride, 0, m.dilation, count)
        for one in each.view(count, -1):
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
    p, q = torch.triu_indices(len(rows), len(rows), device=u.device)
    twice = torch.where(p == q, 1, 2).to(u.dtype)  # the pairs with p > q are those with p < q again
    left = gram[rows[p], rows[q]] * twice[:, None, None]
    right = u[cols[p]] * u[cols[q]]
    return left.flatten(0, 1).T @ right.flatten(0, 1)


def _products(g, u, out):
    """Add sum_{c,n} (g_cn u_n)^2 to out [O, K]; g [C, N, O, P], u [N, P, K]."""
    if g.device.type == "cpu":
        one = torch.empty_like(out)
        for c, n in itertools.product(range(g.shape[0]), range(g.shape[1])):
            torch.mm(g[c, n], u[n], out=one)
            out.addcmul_(one, one)
        return out
    some = max(1, 2**28 // out.numel())  # samples at a time, for memory
    for column in g:
        for g_part, u_part in zip(column.split(some), u.split(some), strict=True):
            out += torch.bmm(g_part, u_part).square_().sum(0)
    return out


def _norm(m, g, u):
    """g [C, N, channels, *] or, for LayerNorm, [C, N, *, normalised]: the positions * are summed before the square."""
    positions = tuple(range(3, g.dim()))
    if isinstance(m, nn.LayerNorm):
        unit = F.layer_norm(u, m.normalized_shape, eps=m.eps)
        positions = tuple(range(2, g.dim() - len(m.normalized_shape)))
    elif isinstance(m, nn.GroupNorm):
        unit = F.group_norm(u, m.num_groups, eps=m.eps)
    else:
        unit = F.batch_norm(u, m.running_mean, m.running_var, eps=m.eps)
    weight, bias = g * unit, g
    if positions:
        weight, bias = weight.sum(positions), bias.sum(positions)
    return {"weight": weight.square().sum((0, 1)), "bias": bias.square().sum((0, 1))}


RULES = {nn.Linear: _linear, nn.Conv2d: _conv, nn.BatchNorm1d: _norm, nn.BatchNorm2d: _norm, nn.GroupNorm: _norm,
         nn.LayerNorm: _norm}


# ---- vmap, BackPACK, Hessian ----


def _vmap_step(model, params, x, labels, columns):
    """Per-sample gradients of any net, a chunk of samples at a time; one forward and backward for each column."""
    def projected(p, one, s):
        logits = functional_call(model, p, (one[None],))[0]
        return (logits * s).sum()

    each = vmap(grad(projected), (None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    room = 2**26 if x.device.type == "cpu" else 2**30  # numbers in the gradients of the samples that go at a time
    some = max(1, room // sum(p.numel() for p in params.values()))
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
    second_order = {"ggn_exact": extensions.DiagGGNExact, "hessian": extensions.DiagHessian}.get(kind)
    extension = second_order() if second_order else extensions.SumGradSquared()
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))
    net = copy.deepcopy(model).requires_grad_(True)
    for module in net.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    net = extend(net, use_converter=not _is_chain(net)).eval()

    def add_squares(total, scalar):
        """Add what the extension leaves at each parameter after a backward pass."""
        try:
            with backpack(extension):
                scalar.backward()
        except NotImplementedError as reason:
            raise Bad(f"curvature: BackPACK lacks {type(extension).__name__}: {str(reason)[:200]}") from None
        for name, p in net.named_parameters():
            if not hasattr(p, extension.savefield):
                raise Bad(f"curvature: BackPACK lacks {type(extension).__name__} for {name}; use path 'hooks'")
            total[name] = total.get(name, 0) + getattr(p, extension.savefield).detach()

    def step(x, labels, columns):
        total = {}
        if second_order:
            add_squares(total, loss(net(x), labels))
        else:
            for column in columns(net(x)):
                add_squares(total, (net(x) * column).sum())
        return total

    return step


def _is_chain(module):
    """Whether the net is a plain chain of layers, all that BackPACK differentiates twice."""
    if isinstance(module, nn.Sequential):
        return all(_is_chain(child) for child in module)
    return not list(module.children())


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
    large_chain = not small and _is_chain(model)
    if path == "backpack" or (path == "auto" and large_chain):
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
    """TIS score (h'/h)^2 of each entry (TIS, eq. 28); 0 where h <= 0, for there the score is not defined.

    >>> tis({"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([2.0, 0.0])})
    {'w': tensor([0.2500, 0.0000])}
    """
    out = {}
    for k, h in h_all.items():
        defined = h > 0
        ratio = h_forget[k] / torch.where(defined, h, 1)
        out[k] = torch.where(defined, ratio, 0).square()
    return out


def select(scores: State, gamma, rule="text"):
    """Per tensor, the smallest set of top entries whose scores reach gamma percent of the tensor's total (TIS, 5).

    gamma: a number in [0, 100] (gives a State of bool) or several of them (a list of States, from one sort).
    Zero scores are never selected; ties go by position; a larger gamma selects a superset. Bad for another gamma, and
    for scores that are negative or not finite. rule: `text`, as above, or `code`, the authors': the entries strictly
    above the score at which the running sum is nearest to gamma percent, which may be none.

    >>> select({"w": torch.tensor([1.0, 6.0, 3.0])}, gamma=70)
    {'w': tensor([False,  True,  True])}
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
        reached = flat[order].cumsum(0)
        positive = int((flat > 0).sum())
        for mask, g in zip(masks, gammas, strict=True):
            count = _count(reached, positive, g) if rule == "text" else _count_of_code(flat[order], reached, g)
            top = order[:count]
            chosen = torch.zeros_like(flat, dtype=torch.bool)
            chosen[top] = True
            mask[name] = chosen.view(score.shape)
    return masks[0] if isinstance(gamma, int | float) else masks


def _count(reached, positive, gamma):
    """How many of the sorted entries it takes to reach gamma percent; reached: their running sum, positive: how many
    are above zero."""
    if gamma == 0:
        return 0
    if gamma == 100:
        return positive
    wanted = reached[-1:] * (gamma / 100 * (1 - 1e-12))  # a sum that falls short by rounding alone counts as reached
    return min(int(torch.searchsorted(reached, wanted)) + 1, positive)


def _count_of_code(ordered, reached, gamma):
    """How many of the sorted scores the authors' code selects: those strictly above the one at which the running sum
    comes nearest to gamma percent, of equally near ones the first."""
    nearest = int((reached - reached[-1] * (gamma / 100)).abs().argmin())
    return int((ordered > ordered[nearest]).sum())


def random_like(masks: State, rng) -> State:
    """Random Reset: per tensor as many entries as in masks, uniform without replacement (TIS, 6.2).

    masks: State of bool; rng: a torch.Generator. Tensors are drawn for in the order of their names, whatever order
    they come in: a curvature read from a store is sorted, one just computed is not.
    """
    out = {}
    for name, mask in sorted(masks.items()):
        order = torch.randperm(mask.numel(), generator=rng, device=rng.device).to(mask.device)
        chosen = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
        chosen[order[:int(mask.sum())]] = True
        out[name] = chosen.view(mask.shape)
    return out
