"""Operators on texts, which are UTF-8."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.networks.code import Writer, literal, text_literal
from mlcore.networks.ir import REQUIRED, Array, DType, Node, Size, TensorType, Value, ValueType, product
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._map import write_map
from mlcore.networks.ops._regex import compile_pattern

_HEADER = "kernels/nn/text.hpp"


def need_texts(node: Node, *values: Value) -> None:
    """Refuse inputs that are no texts."""
    for value in values:
        if value.dtype is not DType.STRING:
            raise InputError(f"{node.where} works on texts, and is given {value.tensor}", code="network.dtype")


def text_constant(text: str) -> str:
    """A text as a C++ ``std::string_view``, whatever it holds."""
    return f"std::string_view({text_literal(text)}, {len(_encoded(text))})"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def text_array(texts: Sequence[str]) -> Array:
    """Texts as an array of objects."""
    result = np.empty(len(texts), np.object_)
    result[:] = texts
    return result


def sorted_texts(texts: Sequence[str]) -> list[str]:
    """Different texts in the order of their bytes, which is C++'s."""
    return sorted(set(texts), key=_encoded)


@operator("StringConcat", since=(20,))
class StringConcat(Operator):
    """One text behind the other, with broadcasting."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        left, right = node.input(0), node.input(1)
        need_texts(node, left, right)
        return [TensorType(DType.STRING, facts.broadcast(left.shape, right.shape, why=f"{node.where} broadcasts"))]

    def write(self, node: Node, code: Writer) -> None:
        write_map(code, "a + b", ["a", "b"], [node.input(0), node.input(1)], node.output)


@operator("StringSplit", since=(20,))
class StringSplit(Operator):
    """The parts of each text, filled up with empty ones, and their numbers."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        need_texts(node, node.input(0))
        shape = node.input(0).shape
        return [TensorType(DType.STRING, (*shape, facts.late("parts"))), TensorType(DType.INT64, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        counted = len(node.outputs) > 1 and node.outputs[1].name
        counts = code.ref(node.outputs[1]) if counted else code.scratch("std::int64_t", data.count, 8)
        most = node.integer("maxsplit", -1)
        how = f"{code.ref(data)}, {code.size(data.count)}, {text_constant(node.text('delimiter', ''))}, {code.size(most)}"
        if output.name:
            width = code.fresh("parts")
            code.line(f"const std::int64_t {width} = nn::count_parts({how}, {counts});")
            code.assign(output.shape[-1], width)
            code.allocate(output)
            code.line(f"nn::split_texts({how}, {width}, {code.ref(output)});")
        else:
            code.line(f"nn::count_parts({how}, {counts});")


@cache
def case_table(upper: bool) -> Array:
    """What becomes of characters in another case.

    Returns
    -------
    ndarray
        int32, shape (n, 4): a code point, and up to three that take its place, with -1 behind them. By Unicode's full mappings
        that depend neither on a language nor on what stands around.
    """
    rows = []
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        changed = char.upper() if upper else char.lower()
        if changed != char:
            rows.append([code, *map(ord, changed), -1, -1][:4])
    return np.array(rows, np.int32)


@operator("StringNormalizer", since=(10,))
class StringNormalizer(Operator):
    """Without stop words, in another case; one empty text where none is left."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        need_texts(node, data)
        if data.rank not in (1, 2):
            raise InputError(f"{node.where} needs one row of texts, and is given {data.tensor}", code="network.shape")
        if data.rank == 2:
            facts.same(data.shape[0], 1, f"{node.where} works on one row of texts")
        action = node.text("case_change_action", "NONE")
        if action not in ("NONE", "LOWER", "UPPER"):
            raise InputError(f"{node.where} has the unknown case_change_action {action!r}", code="network.attribute")
        locale = node.text("locale", "en_US")
        if locale[:2] in ("tr", "az", "lt"):
            raise UnsupportedFeatureError(
                f"{node.where} changes the case of texts by rules of the locale {locale!r}",
                hint="Only the rules that are common to most languages are supported.",
            )
        return [TensorType(DType.STRING, (*data.shape[:-1], facts.late("words")))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        stops = node.texts("stopwords", [])
        sensitive = bool(node.integer("is_case_sensitive", 0))
        if not sensitive:
            stops = ["".join(char.lower() for char in text) for text in stops]
        stops = sorted_texts(stops)
        table = code.weights(text_array(stops)) if stops else "nullptr"
        compare = self._table(code, None if sensitive or not stops else "LOWER")
        change = self._table(code, node.text("case_change_action", "NONE"))
        storage = code.storage(output).name
        words = code.fresh("words")
        code.line(
            f"const std::int64_t {words} = nn::normalize_texts({code.ref(data)}, {code.size(data.count)}, {table}, {len(stops)}, "
            f"{compare}, {change}, {storage});"
        )
        code.assign(output.shape[-1], words)

    @staticmethod
    def _table(code: Writer, action: str | None) -> str:
        if action not in ("LOWER", "UPPER"):
            return "{}"
        rows = case_table(action == "UPPER")
        return f"{{{code.weights(rows)}, {len(rows)}}}"


@operator("RegexFullMatch", since=(20,))
class RegexFullMatch(Operator):
    """Whether a regular expression matches each text as a whole."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        need_texts(node, node.input(0))
        compile_pattern(node.text("pattern", REQUIRED))
        return [TensorType(DType.BOOL, node.input(0).shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        automaton = compile_pattern(node.text("pattern", REQUIRED))
        begins = np.cumsum([0, *map(len, automaton.sets)], dtype=np.int32)
        ranges = np.array([*chain.from_iterable(automaton.sets)] or [(0, 0)], np.int32)
        name = code.fresh("pattern")
        states = code.weights(np.array(automaton.states, np.int32))
        code.comment(f"/{node.text('pattern')}/")
        code.line(
            f"const nn::Automaton {name}{{{states}, {len(automaton.states)}, {code.weights(ranges)}, {code.weights(begins)}}};"
        )
        work = code.scratch("std::int32_t", 4 * len(automaton.states), 4)
        data = node.input(0)
        code.line(f"nn::match_texts({name}, {code.ref(data)}, {code.size(data.count)}, {work}, {code.ref(node.output)});")


@operator("TfIdfVectorizer", since=(9,))
class TfIdfVectorizer(Operator):
    """How often n-grams of a pool occur in each row, with words left out between theirs; weighted."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.rank > 2:
            raise InputError(f"{node.where} needs one or more rows, and is given {data.tensor}", code="network.shape")
        texts = node.texts("pool_strings")
        if (data.dtype is DType.STRING) != bool(texts) or not (data.dtype is DType.STRING or data.dtype.is_integer):
            raise InputError(f"{node.where} has a pool of other words than {data.dtype}", code="network.dtype")
        self._grams(node)
        columns = max(node.integers("ngram_indexes", REQUIRED)) + 1
        weights = node.numbers("weights")
        if weights and len(weights) < columns:
            raise InputError(f"{node.where} has {len(weights)} weights for {columns} columns", code="network.attribute")
        return [TensorType(DType.FLOAT32, (*data.shape[:-1], columns) if data.rank == 2 else (columns,))]

    @staticmethod
    def _words(node: Node) -> list[str] | list[int]:
        words: list[str] | list[int] = node.texts("pool_strings") or node.integers("pool_int64s", REQUIRED)
        return words

    def _grams(self, node: Node) -> dict[int, dict[tuple[str | int, ...], int]]:
        """The column of each n-gram, by its length."""
        pool, columns = self._words(node), node.integers("ngram_indexes", REQUIRED)
        begins = node.integers("ngram_counts", REQUIRED)
        shortest, longest = node.integer("min_gram_length", REQUIRED), node.integer("max_gram_length", REQUIRED)
        if not columns or min(columns) < 0 or max(columns) >= 2**31:
            raise InputError(f"{node.where} has no columns, or negative ones", code="network.attribute")
        if not 0 < shortest <= longest or node.integer("max_skip_count", REQUIRED) < 0:
            raise InputError(f"{node.where} counts n-grams of lengths {shortest} to {longest}", code="network.attribute")
        if begins != sorted(begins) or (begins and not 0 <= begins[0] <= begins[-1] <= len(pool)):
            raise InputError(f"{node.where} has ngram_counts {begins} for a pool of {len(pool)} words", code="network.attribute")
        found: dict[int, dict[tuple[str | int, ...], int]] = {}
        number = 0
        for length, (begin, end) in enumerate(zip(begins, [*begins[1:], len(pool)], strict=True), 1):
            if (end - begin) % length:
                raise InputError(f"{node.where} has {end - begin} words for n-grams of length {length}", code="network.attribute")
            for start in range(begin, end, length):
                if number >= len(columns):
                    raise InputError(f"{node.where} has n-grams without a column", code="network.attribute")
                if shortest <= length <= longest:
                    found.setdefault(length, {})[tuple(pool[start : start + length])] = columns[number]
                number += 1
        return found

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        columns = output.shape[-1]
        grams = self._grams(node)
        texts = data.dtype is DType.STRING
        used = {word for group in grams.values() for gram in group for word in gram}
        words: list[str | int] = list(sorted_texts([str(word) for word in used])) if texts else sorted(used, key=int)
        numbers = {word: i for i, word in enumerate(words)}
        table = (
            code.weights(text_array([str(word) for word in words]) if texts else np.array(words, np.int64))
            if words
            else "nullptr"
        )
        length: Size = data.shape[-1] if data.rank else 1
        rows = product(data.shape[:-1])
        found = code.scratch("std::int32_t", length, 4)
        code.line(f"nn::fill({code.ref(output)}, {code.size(output.count)}, 0.0f);")
        tables = [(n, *self._tables(code, grams[n], numbers)) for n in sorted(grams)] if words else []
        word_type = "std::string" if texts else "std::int64_t"
        row = code.fresh("row")
        with code.block(f"for (std::int64_t {row} = 0; {row} < {code.size(rows)}; ++{row})"):
            i = code.fresh("i")
            with code.block(f"for (std::int64_t {i} = 0; {i} < {code.size(length)}; ++{i})"):
                word = f"{code.ref(data)}[{row} * {code.size(length)} + {i}]"
                word = word if texts else f"static_cast<std::int64_t>({word})"
                code.line(f"{found}[{i}] = nn::word_number({word}, static_cast<const {word_type}*>({table}), {len(words)});")
            target = f"{code.ref(output)} + {row} * {code.size(columns)}"
            for n, listed, places, count in tables:
                skips = 1 if n == 1 else node.integer("max_skip_count", REQUIRED) + 1
                call = (
                    f"nn::count_ngrams({found}, {code.size(length)}, {{}}, {{{{{n}, {listed}, {places}, {count}}}}}, {target});"
                )
                distance = code.fresh("distance")
                # Beyond the length of a row there is nothing to skip to.
                with code.block(
                    f"for (std::int64_t {distance} = 1; {distance} <= {skips} && {distance} <= {code.size(length)}; ++{distance})"
                ):
                    code.line(call.format(distance))
        self._write_weights(node, code, rows)

    @staticmethod
    def _tables(code: Writer, grams: dict[tuple[str | int, ...], int], numbers: dict[str | int, int]) -> tuple[str, str, int]:
        rows = sorted((tuple(numbers[word] for word in gram), column) for gram, column in grams.items())
        listed = code.weights(np.array([row for row, _ in rows], np.int32))
        return listed, code.weights(np.array([column for _, column in rows], np.int64)), len(rows)

    @staticmethod
    def _write_weights(node: Node, code: Writer, rows: Size) -> None:
        mode, weights = node.text("mode", REQUIRED), node.numbers("weights")
        if mode not in ("TF", "IDF", "TFIDF"):
            raise InputError(f"{node.where} has the unknown mode {mode!r}", code="network.attribute")
        if mode == "TF" or (mode == "TFIDF" and not weights):
            return
        columns = node.output.shape[-1]
        output, i = code.ref(node.output), code.fresh("i")
        # ONNX's definition speaks of a weight for each n-gram; its evaluator and ONNX Runtime have one for each column.
        weight = "1.0f"
        if weights:
            weight = f"{code.weights(np.array(weights, np.float32))}[{i} % {code.size(columns)}]"
        with code.block(f"for (std::int64_t {i} = 0; {i} < {code.size(rows * columns)}; ++{i})"):
            if mode == "IDF":
                code.line(f"{output}[{i}] = {output}[{i}] > 0 ? {weight} : {literal(0.0, DType.FLOAT32)};")
            else:
                code.line(f"{output}[{i}] *= {weight};")
