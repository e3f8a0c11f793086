"""The lexical stores: BM25 over chunks, whole documents and class members, with one vocabulary."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.index.tokens import expand, identifiers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Vocabulary:
    """Numbers for tokens, given in the order in which they are first seen."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self._encoded: dict[str, tuple[int, ...]] = {}  # of each identifier as written

    def encode(self, text: str) -> list[int]:
        """The numbers of the tokens of `text`."""
        result: list[int] = []
        for identifier in identifiers(text):
            encoded = self._encoded.get(identifier)
            if encoded is None:
                encoded = self._encoded[identifier] = tuple(map(self._number, expand(identifier)))
            result += encoded
        return result

    def _number(self, token: str) -> int:
        return self.numbers.setdefault(token, len(self.numbers))

    def __len__(self) -> int:
        return len(self.numbers)


class LexicalStore:
    """BM25 scores of a fixed set of texts, computed when the index was built and read memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._bm25: Any = _library().BM25.load(folder, mmap=True, load_vocab=False, show_progress=False)

    def scores(self, tokens: Mapping[int, float]) -> NDArray[np.float32]:
        """The score of every text for a query.

        Parameters
        ----------
        tokens
            The weight of each of the query's tokens, by its number.

        Returns
        -------
        float32, shape (n_texts,)
        """
        import numpy as np

        alike: dict[float, list[int]] = {}
        for token, weight in tokens.items():
            alike.setdefault(weight, []).append(token)
        parts: list[NDArray[np.float32]] = [
            self._bm25.get_scores_from_ids(numbers) * np.float32(weight) for weight, numbers in alike.items()
        ]
        return sum(parts[1:], parts[0]) if parts else self._bm25.get_scores_from_ids([])


def _library() -> Any:
    """bm25s, which logs every step to the console unless told not to."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


def write(folder: Path, texts: list[list[int]], n_vocabulary: int, *, b: float = 0.75, k1: float = 1.5) -> None:
    """Build and save a store over tokenised texts.

    Parameters
    ----------
    texts
        Token numbers of each text, below `n_vocabulary`.
    b, k1
        BM25's length normalisation and term saturation.
    """
    bm25 = _library().BM25(method="lucene", k1=k1, b=b)
    vocabulary = {str(number): number for number in range(n_vocabulary)}
    bm25.index((texts, vocabulary), create_empty_token=False, show_progress=False)
    bm25.vocab_dict = {}  # the vocabulary is in the document store, once for all
    bm25.save(folder, show_progress=False)
