"""The memory plan of generated code in numbers and as a picture: which bytes a call needs when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from mlcore.inspection.report import clean, size_text
from mlcore.networks.code import Storage
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.emit.memory import aligned
from mlcore.networks.ir.sizes import Size, evaluate

MOST_BLOCKS = 400
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 632, 34, 262


LEGEND = {"m1": "tensors", "m2": "scratch of a node", "v4": "tensors whose size differs with each call"}
"""What each class of the page's stands for."""


@dataclass(frozen=True)
class Block:
    """A tensor in the arena.

    Attributes
    ----------
    name
        Of the value in the model; "" for memory that a node needs for itself.
    first, last
        Steps of the code between which it is alive; each node is about two.
    offset, bytes
        Where it lies, and how long it is, without what fills it up to a multiple of 64.
    shares_slot
        Whether its size depends on sizes of the call: it lies in a slot that values of the same size share.
    """

    name: str
    first: int
    last: int
    offset: int
    bytes: int
    shares_slot: bool


@dataclass(frozen=True)
class MemoryMap:
    """The arena of a call.

    Attributes
    ----------
    sizes
        The numbers that the symbols have here.
    bytes
        Of the whole arena.
    unshared_bytes
        What the tensors would need if none shared memory.
    n_steps
        Of the code.
    n_growing
        Tensors whose size is found out on the way, in buffers of their own.
    """

    sizes: Mapping[str, int]
    bytes: int
    unshared_bytes: int
    n_steps: int
    n_growing: int
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, emitted: Emitted, sizes: Mapping[str, int]) -> MemoryMap:
        """The memory of generated code where its symbols have some numbers."""
        plan = emitted.memory
        blocks = [
            Block(
                _name(storage), storage.first, storage.last, offset, _known(storage.count, sizes) * storage.element_bytes, False
            )
            for storage, offset in plan.offsets.items()
        ]
        end = plan.static_bytes
        for slot in plan.slots:
            size = _known(slot.bytes, sizes)
            blocks += [Block(_name(item), item.first, item.last, end, size, True) for item in slot.storages]
            end += aligned(size)
        return cls(
            dict(sizes),
            end,
            sum(aligned(block.bytes) for block in blocks),
            max((block.last for block in blocks), default=0) + 1,
            plan.n_growing,
            tuple(sorted(blocks, key=lambda block: (block.first, block.offset))),
        )

    def svg(self) -> str:
        """The plan as an SVG element without any style of its own: steps on x, bytes on y, a rectangle for each tensor."""
        if not self.blocks:
            return ""
        shown = sorted(self.blocks, key=lambda block: -block.bytes * (block.last - block.first + 1))[:MOST_BLOCKS]
        top = max(self.bytes, 1)

        def x(step: float) -> float:
            return round(LEFT + step / self.n_steps * (RIGHT - LEFT), 1)

        def y(offset: float) -> float:
            return round(BOTTOM - offset / top * (BOTTOM - TOP), 1)

        label = f"Memory of a call: {size_text(self.bytes)} in {len(self.blocks)} tensors over {self.n_steps} steps"
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
        for fraction in (0, 0.25, 0.5, 0.75, 1):
            at = y(fraction * top)
            parts.append(f'<path class="gr" d="M{LEFT} {at}H{RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at + 3.5}" class="a-e">{size_text(fraction * top)}</text>')
        for block in shown:
            name = block.name or "scratch of a node"
            told = f"{name}: {size_text(block.bytes)} at {block.offset}, steps {block.first} to {block.last}"
            wide = max(x(block.last + 1) - x(block.first), 1.0)
            tall = max(y(block.offset) - y(block.offset + block.bytes), 0.8)
            place = f'x="{x(block.first)}" y="{y(block.offset + block.bytes)}" width="{wide:.1f}" height="{tall:.1f}"'
            parts.append(f'<g class="{_class(block)}"><title>{escape(told, quote=False)}</title>')
            parts.append(f'<rect class="span" {place}/><rect class="eb" {place}/></g>')
        parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
        used = {_class(block) for block in shown}
        at = LEFT
        for kind, text in LEGEND.items():
            if kind in used:
                parts.append(f'<rect class="{kind} fl" x="{at}" y="7" width="9" height="9"/>')
                parts.append(f'<text x="{at + 14}" y="15" class="lb">{text}</text>')
                at += 30 + round(6.2 * len(text))
        parts.append(f'<text x="{LEFT - 6}" y="{TOP - 10}" class="lb a-e">offset</text>')
        parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 20}" class="lb a-e">steps of the call, in order</text>')
        return "".join([*parts, "</svg>"])

    @property
    def caption(self) -> str:
        """What the picture does not say."""
        parts = [f"{size_text(self.bytes)}; without sharing it would be {size_text(self.unshared_bytes)}."]
        if self.sizes:
            parts.append(f"For {', '.join(f'{name} = {number}' for name, number in self.sizes.items())}.")
        if len(self.blocks) > MOST_BLOCKS:
            parts.append(f"The {MOST_BLOCKS} largest of {len(self.blocks)} tensors are drawn.")
        if self.n_growing:
            parts.append(f"{self.n_growing} tensors whose size is found out on the way have buffers of their own.")
        return " ".join(parts)


def _class(block: Block) -> str:
    return "v4" if block.shares_slot else "m1" if block.name else "m2"


def _known(size: Size, sizes: Mapping[str, int]) -> int:
    return max(0, evaluate(size, sizes))


def _name(storage: Storage) -> str:
    return (clean(storage.value.name, 80) or "without a name") if storage.value is not None else ""
