"""A part of a network that runs for a few events of a batch at a time."""

from __future__ import annotations

from typing import ClassVar, cast

from mlcore.networks.code import Writer
from mlcore.networks.ir import Node, Size
from mlcore.networks.ops._fused import Fused


class Blocks(Fused):
    """A graph that is run for block after block of a batch.

    Attributes: ``body``, whose inputs are blocks of the first inputs and whose outputs are blocks of the outputs, event after
    event; ``events``, of the whole batch; ``block``, of them in a block, which divides it.
    """

    name: ClassVar[str] = "Blocks"

    def write(self, node: Node, code: Writer) -> None:
        body, events, block = node.graph("body"), cast("Size", node.attributes["events"]), cast("int", node.attributes["block"])
        at = code.fresh("b")
        inputs = list(zip(body.inputs, node.present()[: len(body.inputs)], strict=True))
        outputs = list(zip(body.outputs, node.outputs, strict=True))
        with code.loop(f"for (std::int64_t {at} = 0; {at} < {code.size(events)}; {at} += {block})"):
            for inner, outer in inputs:
                code.alias(inner, f"{code.ref(outer)} + {at} / {block} * {code.size(inner.count)}", constant=True)
            for inner, outer in outputs:
                code.alias(inner, f"{code.ref(outer)} + {at} / {block} * {code.size(inner.count)}")
            code.write_nodes(body)
            # What lies outside is read and written in every round.
            for value in (*node.present(), *node.outputs):
                code.storage(value)


BLOCKS = Blocks()
