"""The nets of both papers and small stand-ins, built fresh by name: `build(settings, channels, classes, size)`."""
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.vision_transformer import VisionTransformer

from ..errors import Bad, nearest
from ..settings import KEYS

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def _norm(kind, channels):
    # GroupNorm with one group is the convolutional stand-in for LayerNorm: NoT's CNN normalises each image
    return [nn.GroupNorm(1, channels)] if kind == "group" else []


def small_cnn(channels, classes, size, *, width=32, norm="group", activation="relu"):
    """Two strided 3x3 convolutions and a linear head; max-pooling would cost a third of a CPU step."""
    act, side = ACTIVATIONS[activation], -(-(-(-size // 2)) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1), *_norm(norm, width), act(),
        nn.Conv2d(width, 2 * width, 3, 2, 1), *_norm(norm, 2 * width), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, classes))


def cnn(channels, classes, size, *, width=32, norm="group", activation="relu"):
    """NoT's CNN, "two convolution layers with layer normalization"; the paper states no more, the rest is our choice.

    Pooling comes before the activation: for a monotone one the outputs and gradients are the same, and it is faster.
    """
    act, side = ACTIVATIONS[activation], size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, padding=2), *_norm(norm, width), nn.MaxPool2d(2), act(),
        nn.Conv2d(width, 2 * width, 5, padding=2), *_norm(norm, 2 * width), nn.MaxPool2d(2), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, classes))


def tis_cnn(channels, classes, size, *, width=32, activation="relu"):
    """The MNIST net of the TIS experiments: two 5x5 convolutions and a hidden layer of 512."""
    act, side = ACTIVATIONS[activation], size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, padding=2), nn.MaxPool2d(2), act(),
        nn.Conv2d(width, 2 * width, 5, padding=2), nn.MaxPool2d(2), act(),
        nn.Flatten(), nn.Linear(2 * width * side * side, 512), act(), nn.Linear(512, classes))


def _resnet18(channels, classes, size, *, width=64, stem=7):
    net = resnet18(weights=None, num_classes=classes)
    if width != 64:
        _narrow(net, width / 64, classes)
    if stem == 3:
        net.conv1, net.maxpool = nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.Identity()
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
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
    """A freshly initialised net for images `[channels, size, size]`; `settings` holds `model` and its options."""
    s, name = settings, settings["model"]
    width = s["width"] or (64 if name.startswith("resnet") else 32)
    if name == "small_cnn":
        return small_cnn(channels, classes, size, width=width, norm=s["norm"], activation=s["activation"])
    if name == "cnn":
        return cnn(channels, classes, size, width=width, norm=s["norm"], activation=s["activation"])
    if name == "tis_cnn":
        return tis_cnn(channels, classes, size, width=width, activation=s["activation"])
    if name in ("resnet18", "resnet18_3x3"):
        return _resnet18(channels, classes, size, width=width, stem=3 if name.endswith("3x3") else 7)
    if name == "vit_b16":
        return _vit(channels, classes, size, patch=16, dim=768, depth=12, heads=12, mlp=3072)
    if name == "small_vit":
        return _vit(channels, classes, size, patch=s["patch"], dim=s["dim"], depth=s["depth"], heads=s["heads"],
                    mlp=2 * s["dim"])
    raise Bad(f"model: {nearest(name, KEYS['model'].allowed, 'model')} in place of {name!r}")


def first_layer(model):
    """Index in `model.parameters()` of the first convolution's weight (0 for the CNNs, 1 for a ViT)."""
    first = next(m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    return next(i for i, p in enumerate(model.parameters()) if p is first.weight)


def features(model, x):
    """`(logits, z)`: the output and the penultimate features, i.e. the input of the last linear layer."""
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    seen = []
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        return model(x), seen[0]
    finally:
        handle.remove()


def count(model):
    """Number of parameters (buffers left out): what one transfer sends, in units of 4 bytes."""
    return sum(p.numel() for p in model.parameters())


def state_of(model):
    """A detached copy of the model's parameters and buffers."""
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
