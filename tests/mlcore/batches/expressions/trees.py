"""Random trees of expressions."""

from __future__ import annotations

from hypothesis import strategies as st

from mlcore.batches.expressions import FUNCTIONS
from mlcore.batches.expressions.functions import Kind
from mlcore.batches.expressions.tree import LEVELS, Call, Chain, Contained, Index, Literal, Name, Node, Power, Unary


def trees(names: st.SearchStrategy[str]) -> st.SearchStrategy[Node]:
    """Trees of every node, that mean something or not."""
    literals = st.one_of(
        st.booleans(),
        st.integers(0, 2**64 - 1),
        st.floats(min_value=0, allow_infinity=False, allow_nan=False).map(lambda x: abs(x)),
    ).map(Literal)
    leaves = st.one_of(literals, names.map(Name))
    levels = [tuple(operator for operator, level in LEVELS.items() if level == one) for one in sorted(set(LEVELS.values()))]

    def grown(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def call(name: str) -> st.SearchStrategy[Node]:
            least, most = FUNCTIONS[name].takes
            return st.lists(below, min_size=least, max_size=min(most, least + 2)).map(lambda found: Call(name, tuple(found)))

        def chain(operators: tuple[str, ...]) -> st.SearchStrategy[Node]:
            rest = st.lists(st.tuples(st.sampled_from(operators), below), min_size=1, max_size=3)
            return st.builds(lambda first, found: Chain(first, tuple(found)), below, rest)

        calls = [name for name, one in FUNCTIONS.items() if one.kind is not Kind.FORM]
        return st.one_of(
            st.builds(Unary, st.sampled_from("-!~"), below),
            st.sampled_from(levels).flatmap(chain),
            st.builds(Power, below, below),
            st.builds(Contained, below, st.lists(below, min_size=1, max_size=3).map(tuple), st.booleans()),
            st.builds(Index, below, below, st.one_of(st.none(), below)),
            st.sampled_from(calls).flatmap(call),
        )

    return st.recursive(leaves, grown, max_leaves=25)
