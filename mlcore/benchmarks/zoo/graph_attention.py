"""A graph attention network of torch_geometric on a given graph: a class for each node.

References
----------
P. Veličković et al., "Graph attention networks", ICLR (2018), arXiv:1710.10903, equations (3) to (6).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mlcore.benchmarks.zoo._model import EDGES, NODES, TensorSpec, ZooModel


class GraphAttention(nn.Module):
    """Two layers: four heads that are concatenated, then one head. A node attends to itself where the graph has that edge."""

    def __init__(self) -> None:
        from torch_geometric.nn import GATConv

        super().__init__()
        self.first = GATConv(8, 16, heads=4, add_self_loops=False)
        self.second = GATConv(64, 3, heads=1, add_self_loops=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Nodes float32 (nodes, 8); sources and targets int64 (2, edges); returns (nodes, 3)."""
        y: Tensor = self.second(functional.elu(self.first(x, edges)), edges)
        return y


MODEL = ZooModel(
    name="graph_attention",
    title="Graph attention, 64 nodes",
    paper="Veličković et al., arXiv:1710.10903; torch_geometric",
    build=GraphAttention,
    inputs=(TensorSpec("x", (NODES, 8)), TensorSpec("edges", (2, EDGES), "edges")),
    outputs=(TensorSpec("y", (NODES, 3)),),
    particles=64,
    opset=18,  # the first with ScatterElements by maximum
    traced=False,  # that exporter wraps each maximum into a branch on its rank, which no shape inference gets through
    packages={"torch_geometric.nn": "pip install torch_geometric", "onnxscript": "pip install onnxscript"},
)
