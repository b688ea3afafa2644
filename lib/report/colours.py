"""Whether two colours can be told apart, by eyes that lack one kind of cone as well.

Colour-blind eyes are simulated after Machado, Oliveira and Fernandes (IEEE TVCG 2009), complete loss, on linear RGB. The
distance is that of CIELAB (CIE 1976); from about 10 on, two lines in one panel are told apart at a glance.
"""
import functools

import numpy as np
from matplotlib.colors import to_rgb

EYES = {
    "all cones": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])      # of linear sRGB, white D65
CLEAR = 12              # the least distance at which a colour is chosen freely


def linear(color):
    """sRGB without its gamma, numbers from 0 to 1."""
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


@functools.cache
def lab(color, eyes="all cones"):
    """CIELAB of a colour as these eyes see it."""
    xyz = TO_XYZ @ np.clip(EYES[eyes] @ linear(color), 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a, b, eyes=tuple(EYES)):
    """How far two colours are apart for those of these eyes that see the least difference."""
    return min(float(np.linalg.norm(lab(a, e) - lab(b, e))) for e in eyes)


def nearest(color, others):
    """The distance of a colour to the nearest of others; infinite where there are none."""
    return min((distance(color, other) for other in others), default=np.inf)
