"""The nets of both papers and small stand-ins, built fresh by name: `build(settings, channels, classes, size)`.

A net is `f(channels, classes, size, *, arguments) -> nn.Module` for images `[channels, size, size]`, its arguments with
types of `lib.values`, registered by `@model(name)`. An argument named like a key of a setting takes its value.
"""
import warnings
from typing import Literal

import torch
from torch import nn
from torchvision import models as torchvision_models
from torchvision.models.vision_transformer import VisionTransformer

from ..errors import Bad, short
from ..registry import MODELS, arguments, judge, taken
from ..values import Small, Width

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
Activation = Literal["relu", "tanh", "gelu"]
Norm = Literal["group", "none"]


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def model(name=None, *, layout="channels_last"):
    """Register a net under the name by which settings choose it.

    layout: of its images and weights in memory, a name of LAYOUTS. By `benchmarks/evaluation.py` channels_last is the
    faster for every convolutional net here (1.2 to 1.7 times for those of the papers); a ViT has no use for it.
    """
    if layout not in LAYOUTS:
        raise Bad(f"@lib.model({name!r}): layout {layout!r} is not known; choose channels_last or contiguous")
    return MODELS.named(name, layout=layout)


def _norm(kind, channels):
    # GroupNorm with one group is the convolutional stand-in for LayerNorm: NoT's CNN normalises each image
    return [nn.GroupNorm(1, channels)] if kind == "group" else []


@model("small_cnn")
def small_cnn(channels, classes, size, *, width: Width = 32, norm: Norm = "group", activation: Activation = "relu"):
    """Two strided 3x3 convolutions and a linear head; max-pooling would cost a third of a CPU step."""
    act, side = ACTIVATIONS[activation], -(-(-(-size // 2)) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1), *_norm(norm, width), act(),
        nn.Conv2d(width, 2 * width, 3, 2, 1), *_norm(norm, 2 * width), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, classes))


@model("cnn")
def cnn(channels, classes, size, *, width: Width = 32, norm: Norm = "group", activation: Activation = "relu"):
    """NoT's CNN, "two convolution layers with layer normalization"; the paper states no more, the rest is our choice.

    Pooling comes before the activation: for a monotone one the outputs and gradients are the same, and it is faster.
    """
    act, side = ACTIVATIONS[activation], size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, padding=2), *_norm(norm, width), nn.MaxPool2d(2), act(),
        nn.Conv2d(width, 2 * width, 5, padding=2), *_norm(norm, 2 * width), nn.MaxPool2d(2), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, classes))


@model("tis_cnn")
def tis_cnn(channels, classes, size, *, width: Width = 32, activation: Activation = "relu"):
    """The MNIST net of the TIS experiments: two 5x5 convolutions and a hidden layer of 512."""
    act, side = ACTIVATIONS[activation], size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, padding=2), nn.MaxPool2d(2), act(),
        nn.Conv2d(width, 2 * width, 5, padding=2), nn.MaxPool2d(2), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, 512), act(), nn.Linear(512, classes))


@model("resnet18")
def resnet18(channels, classes, size, *, width: Width = 64):
    """ResNet-18 as for ImageNet; another width scales all channels."""
    net = _resnet18(classes, width)
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    return net


@model("resnet18_3x3")
def resnet18_3x3(channels, classes, size, *, width: Width = 64):
    """ResNet-18 for small images: a 3x3 stem without stride or pooling."""
    net = _resnet18(classes, width)
    net.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def _resnet18(classes, width):
    net = torchvision_models.resnet18(weights=None, num_classes=classes)
    if width != 64:
        _narrow(net, width / 64, classes)
    return net


def _narrow(net, factor, classes):
    """Scale the channels of torchvision's ResNet in place; its own width argument is refused for basic blocks."""
    for parent in list(net.modules()):
        for name, m in list(parent.named_children()):
            if isinstance(m, nn.Conv2d):
                ins = m.in_channels if m.in_channels == 3 else int(m.in_channels * factor)
                new = nn.Conv2d(ins, int(m.out_channels * factor), m.kernel_size, m.stride, m.padding, bias=False)
                nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
                setattr(parent, name, new)
            elif isinstance(m, nn.BatchNorm2d):
                setattr(parent, name, nn.BatchNorm2d(int(m.num_features * factor)))
    net.fc = nn.Linear(int(net.fc.in_features * factor), classes)


@model("vit_b16", layout="contiguous")
def vit_b16(channels, classes, size):
    """ViT-B/16, the net of NoT's Caltech-101 experiments."""
    return _vit(channels, classes, size, patch=16, dim=768, depth=12, heads=12, mlp=3072)


@model("small_vit", layout="contiguous")
def small_vit(channels, classes, size, *, patch: Small = 4, dim: Width = 64, depth: Small = 4, heads: Small = 4):
    """A ViT of any size; the hidden layers of its blocks have twice the width of a token."""
    return _vit(channels, classes, size, patch=patch, dim=dim, depth=depth, heads=heads, mlp=2 * dim)


def _vit(channels, classes, size, *, patch, dim, depth, heads, mlp):
    if size % patch:
        raise Bad(f"model: patch {patch} does not divide the image side {size}; choose a patch that does")
    if dim % heads:
        raise Bad(f"model: heads {heads} does not divide dim {dim}; choose a number of heads that does")
    net = VisionTransformer(size, patch, depth, heads, dim, mlp, num_classes=classes)
    if channels != 3:
        net.conv_proj = nn.Conv2d(channels, dim, patch, patch)
    return net


def build(settings, channels, classes, size):
    """A freshly initialised net for images `[channels, size, size]`; `settings` holds `model` and its options.

    Raises Bad where there is no such net, or an option does not fit.
    """
    f = MODELS.find(settings["model"], "model")
    options = taken(arguments(f), settings)
    judge(arguments(f), options, f"model {f.name}")
    net = f(channels, classes, size, **options)
    if not isinstance(net, nn.Module):
        raise Bad(f"model {f.name}: it gives {type(net).__name__}, not a torch.nn.Module; return the net")
    return net


def try_out(settings, channels, classes, size, images):
    """Bad unless the net can be built for such images, and trained on a minibatch of so many.

    It is tried without memory or arithmetic, on the meta device; a net that needs them is tried on the CPU.
    """
    try:
        scores = _scores("meta", settings, channels, classes, size, images)
    except Exception:  # noqa: BLE001  whatever a net of one's own may raise there
        try:
            scores = _scores("cpu", settings, channels, classes, size, images)
        except Bad:
            raise
        except Exception as error:
            what = f"{images} image{'s' * (images > 1)} of {channels} x {size} x {size}"
            remedy = "give every client more images, or choose another model" if images == 1 else "choose another model or size"
            raise Bad(f"model: {settings['model']} cannot train on a minibatch of {what} ({short(error)}); "
                      f"{remedy}") from error
    if tuple(scores) != (images, classes):
        raise Bad(f"model: {settings['model']} gives {list(scores)} for {images} images of {classes} classes; it must "
                  "give one score for each image and class")


def _scores(device, settings, channels, classes, size, images):
    """Shape of what a net in training gives for zeros."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        warnings.simplefilter("ignore")     # of layers without entries, which then fail
        return build(settings, channels, classes, size).train()(torch.zeros(images, channels, size, size)).shape


def first_layer(model):
    """Index in `model.parameters()` of the first convolution's weight (0 for the CNNs, 1 for a ViT)."""
    first = next((m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))), None)
    if first is None:
        raise Bad("model: it has neither a convolution nor a linear layer; name the layers")
    return next(i for i, p in enumerate(model.parameters()) if p is first.weight)


def features(model, x):
    """`(logits, z)`: the output and the penultimate features, i.e. the input of the last linear layer."""
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    seen = []
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        logits = model(x)
    finally:
        handle.remove()
    return logits, seen[0].to(logits.dtype)     # in bfloat16 a layer's inputs are rounder than the logits


@torch.no_grad()
def largest_activation(model, x):
    """Numbers a sample that the largest output of a layer holds, for inputs `x`, on whatever device."""
    sizes = [0]

    def note(layer, inputs, output):
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() // len(x))

    layers = [m for m in model.modules() if not list(m.children())]
    handles = [layer.register_forward_hook(note) for layer in layers]
    model(x)
    for handle in handles:
        handle.remove()
    return max(sizes)


def count(model):
    """Number of parameters (buffers left out): what one transfer sends, in units of 4 bytes."""
    return sum(p.numel() for p in model.parameters())


def state_of(model):
    """A detached copy of the model's parameters and buffers."""
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
