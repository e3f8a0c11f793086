"""3 x 3 convolutions between many channels are marked for minimal filtering, which needs 2.25 times fewer multiplications.

A. Lavin and S. Gray, arXiv:1509.09308. It is done where its matrix products have rows enough to pay for more weights; it rounds
otherwise than a plain sum, by a few units in the last place of the largest product.
"""

from __future__ import annotations

from typing import cast

from mlcore.networks.ir import Graph, Node
from mlcore.networks.ops._channels_last import CONVOLUTION, LEAST_TILES, together
from mlcore.networks.ops._windows import Windows
from mlcore.networks.passes._rewrite import all_graphs

LEAST_CHANNELS, MOST_CHANNELS = 16, 256
"""Fewer channels are done before they are transformed, more make the weights too many to read."""


def filter_convolutions(graph: Graph) -> None:
    """Mark in every graph."""
    for one in all_graphs(graph):
        for node in one.nodes:
            if node.operator is CONVOLUTION and _pays(node):
                node.attributes["filtered"] = True


def _pays(node: Node) -> bool:
    windows, weights = cast("Windows", node.attributes["windows"]), node.constant(1)
    if windows.kernel != (3, 3) or (*windows.strides, *windows.dilations) != (1, 1, 1, 1) or weights is None or len(weights) != 1:
        return False
    channels, columns = weights.shape[1] // 9, weights.shape[2]
    if not (LEAST_CHANNELS <= channels <= MOST_CHANNELS and LEAST_CHANNELS <= columns <= MOST_CHANNELS):
        return False
    if not all(isinstance(size, int) for size in windows.out):
        return False
    high, wide = (-(-cast("int", size) // 2) for size in windows.out)
    padded = (2 * high + 2) * (2 * wide + 2) * channels * weights.dtype.itemsize
    return high * wide * together(windows, node.input(0).shape[0], padded) >= LEAST_TILES
