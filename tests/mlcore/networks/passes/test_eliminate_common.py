"""Equal nodes become one; views of one tensor under two shapes are not equal."""

from __future__ import annotations

from mlcore.networks.ir import DType, Graph, Node, TensorType, Value
from mlcore.networks.ops import find
from mlcore.networks.ops._fused import view
from mlcore.networks.passes.eliminate_common import eliminate_common


def test_views_with_other_shapes_are_kept_apart() -> None:
    x = Value("x", TensorType(DType.FLOAT32, (2, 6)))
    views = [view(x, (3, 4), "a"), view(x, (4, 3), "b"), view(x, (3, 4), "c")]
    nodes = [Node(find("", "Relu"), 14, [one.output], [Value(f"y{i}", one.output.type)]) for i, one in enumerate(views)]
    graph = Graph("views", [x], [node.output for node in nodes], [*views, *nodes])
    eliminate_common(graph)
    assert [node.input(0).shape for node in nodes] == [(3, 4), (4, 3), (3, 4)]
    assert nodes[0].input(0) is nodes[2].input(0)
    assert len([node for node in graph.nodes if node.kind == "fused::View"]) == 2
