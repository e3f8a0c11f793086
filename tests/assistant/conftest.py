"""What the tests of the assistant share: a small corpus, and an embedder that needs no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.corpus import SourceEntry
from assistant.index import BuildOptions, IndexStatus, build
from assistant.index.tokens import tokenize

DIMENSION = 64


class HashEmbedder:
    """Unit vectors of hashed words: deterministic, and near for texts that share words."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, *arguments: Sequence[str] | Sequence[int]) -> object:
        """Both protocols: ``embed(texts)`` for questions, ``embed(numbers, texts)`` for passages."""
        if len(arguments) == 1:
            return np.stack([self._vector(str(text)) for text in arguments[0]])
        return self._passages([int(number) for number in arguments[0]], [str(text) for text in arguments[1]])

    def _passages(self, numbers: list[int], texts: list[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        for start in range(0, len(numbers), 2):
            group = numbers[start : start + 2]
            self.embedded += [texts[number] for number in group]
            yield group, np.stack([self._vector(texts[number]) for number in group])

    @staticmethod
    def _vector(text: str) -> NDArray[np.float32]:
        vector = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for token in tokenize(text):
            vector[int.from_bytes(hashlib.blake2b(token.encode(), digest_size=4).digest()) % DIMENSION] += 1
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit


CORPUS = {
    "inc/TH1.h": """/** \\class TH1
\\brief The histogram class.

Counts entries in bins. */
class TH1 {
public:
   int Fill(double x); ///< add an entry
   void Scale(double c); ///< multiply all bins
   void Divide(double c) { if (c == 0) Error("Divide", "a divisor of zero empties every bin of %s", GetName()); }
};
/** \\class TH1F
A histogram of floats. */
class TH1F : public TH1 {
public:
   TH1F();
   void Reset();
};
""",
    "inc/TTree.h": """/** \\class TTree
\\brief Columnar data on disk. */
class TTree {
public:
   int Branch(const char *name); ///< make a column
   int SetBranchAddress(const char *name, void *p); ///< read a column
};
""",
    "tutorials/fill.C": """/// \\file
/// Fill a histogram with random numbers.

void fill() { TH1F h; h.Fill(gRandom->Gaus()); }
""",
    "tutorials/read.py": """## \\file
## Loop over the entries of a tree.

for entry in tree:
    h = TH1F()
    t = TTree()
""",
    "guide.md": """# The guide

## Installing

To install the program, run the package manager and wait until it is done.

## Bananas

Bananas are yellow fruit that grow in warm countries and ripen on the way.
""",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with classes, tutorials and pages."""
    folder = tmp_path / "corpus"
    for name, text in CORPUS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def embedder() -> HashEmbedder:
    """An embedder that needs no model."""
    return HashEmbedder()


@pytest.fixture
def build_index(tmp_path: Path, corpus: Path, embedder: HashEmbedder) -> Callable[..., IndexStatus]:
    """Builds the index of `corpus` in ``tmp_path / "index"``."""

    def run(*, dense: bool = True, **options: object) -> IndexStatus:
        entry = SourceEntry("corpus", "folder", str(corpus))
        return build(BuildOptions(tmp_path / "index", (entry,), dense=dense, **options), embedder=embedder)  # type: ignore[arg-type]

    return run
