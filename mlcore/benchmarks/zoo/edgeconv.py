"""EdgeConv of torch_geometric on a given graph: a class for each node, such as pile-up or not.

References
----------
Y. Wang et al., "Dynamic graph CNN for learning on point clouds", ACM Trans. Graph. 38 (2019) 146, arXiv:1801.07829, equations
(5), (8).
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._mlp import mlp
from mlcore.benchmarks.zoo._model import EDGES, NODES, TensorSpec, ZooModel


class EdgeConvNetwork(nn.Module):
    """Two EdgeConv layers with maxima over the neighbours, and a dense head for each node."""

    def __init__(self) -> None:
        from torch_geometric.nn import EdgeConv

        super().__init__()
        self.first = EdgeConv(mlp(2 * 8, 64, 64), aggr="max")
        self.second = EdgeConv(mlp(2 * 64, 64, 64), aggr="max")
        self.head = mlp(64, 32, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Nodes float32 (nodes, 8); sources and targets int64 (2, edges); returns (nodes, 2)."""
        hidden = self.second(self.first(x, edges).relu(), edges).relu()
        y: Tensor = self.head(hidden)
        return y


MODEL = ZooModel(
    name="edgeconv",
    title="EdgeConv GNN, 64 nodes",
    paper="Wang et al., arXiv:1801.07829; torch_geometric",
    build=EdgeConvNetwork,
    inputs=(TensorSpec("x", (NODES, 8)), TensorSpec("edges", (2, EDGES), "edges")),
    outputs=(TensorSpec("y", (NODES, 2)),),
    particles=64,
    opset=18,  # the first with ScatterElements by maximum
    traced=False,  # that exporter wraps each maximum into a branch on its rank, which no shape inference gets through
    packages={"torch_geometric.nn": "pip install torch_geometric", "onnxscript": "pip install onnxscript"},
)
