"""Arithmetic in bfloat16: products of float32 weights, rounded on the way in; logits and gradients are float32 again."""
import torch
from torch import nn

from ..errors import Bad, short

# by the setting `dtype`: weights, inputs, states, and all that is summed up
STORED = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class Bfloat16(nn.Module):
    """A net that computes in bfloat16 (torch's autocast) what the float32 net given computes; its logits are float32.

    It holds that net's own parameters, buffers and layers under their own names, so that a loss sees no difference.
    """

    def __init__(self, net):
        super().__init__()
        self.__dict__["net"] = net      # not as a layer, which would put its name before all others
        self._parameters = net._parameters
        self._buffers = net._buffers
        self._modules = net._modules

    def forward(self, x):
        # without autocast's cache of cast weights: a captured graph could not find it again
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            logits = self.net(x)
        return logits.float()


def judge(task):
    """Bad where the task's net cannot take a step in bfloat16; tried on two of its images."""
    x = task.inputs(task.x[:2])
    net = task.in_dtype(task.load(task.init("bfloat16")))
    convolutions = [layer for layer in task.model.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_pre_hook(refuse_small_maps) for layer in convolutions if x.device.type == "cpu"]
    try:
        net(x).sum().backward()
    except Bad:
        raise
    except Exception as error:  # noqa: BLE001  whatever a net of one's own may raise there
        model = task.settings["model"]
        raise Bad(f"dtype: bfloat16 fails for model {model} ({short(error)}); set dtype: float32") from error
    finally:
        for handle in handles:
            handle.remove()
        task.model.zero_grad()


def refuse_small_maps(layer, inputs):
    """Bad where a convolution's stride is beyond the map it sees: on a CPU torch (2.15) adds to the gradient of its
    weights in bfloat16 what happens to stand in memory."""
    side = min(inputs[0].shape[2:])
    if side < max(layer.stride) and max(layer.kernel_size) > 1:
        raise Bad(f"dtype: bfloat16: a convolution of stride {max(layer.stride)} sees maps of {side} pixel, whose gradient "
                  "is wrong on a CPU; set dtype: float32, or a larger size")
