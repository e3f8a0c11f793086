"""Code that trains on shards: a small module that reads them with NumPy and what their format needs, and PyTorch or TensorFlow.

The code is for people to keep and to change; it needs none of this project.
"""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

from mlcore.batches.conversion.joining import Manifest

Framework: TypeAlias = Literal["numpy", "torch", "tensorflow"]

_HEAD = '''"""{title}

{rows} rows in {count} files beside this one; {features} features{more}. Written by the ML4EP Portal; change it as you like.
Needs: {needs}
"""

import pathlib
{imports}
import numpy as np

FOLDER = pathlib.Path(__file__).parent
BATCH_SIZE = {batch_size}
X = {x}  # features
Y = {y}  # targets
W = {w}  # weights


def files(split={split!r}):
    """The files of a split: {splits}."""
    found = sorted(FOLDER.glob(f"{{split}}-*{suffix}"))
    if not found:
        raise FileNotFoundError(f"no files of the split {{split!r}} are in {{FOLDER}}")
    return found

'''

_READ = {
    "parquet": '''
def read(path):
    """The columns of a file."""
    table = pyarrow.parquet.read_table(path)
    columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pyarrow.types.is_fixed_size_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns
''',
    "hdf5": '''
def read(path):
    """The columns of a file."""
    with h5py.File(path, "r") as file:
        return {name: file[name.replace("/", ".")][:] for name in [*X, *Y, *W]}
''',
    "numpy": '''
def read(path):
    """The columns of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in [*X, *Y, *W]}
''',
}

_MATRICES = '''

def matrices(columns):
    """x, y and w as far as there are any: float32, shapes (rows, features), (rows,) or (rows, names)."""
    def side_by_side(names):
        return np.concatenate([columns[name].reshape(len(columns[name]), -1).astype(np.float32) for name in names], axis=1)

    found = [side_by_side(names) for names in (X, Y, W) if names]
    return [found[0], *(part[:, 0] if part.shape[1] == 1 else part for part in found[1:])]
'''

_WEBDATASET = '''
def read(path):
    """The matrices of a file, by their names."""
    rows = {}
    with tarfile.open(path) as archive:
        for member in archive:
            _, _, name = member.name.partition(".")
            data = io.BytesIO(archive.extractfile(member).read())
            rows.setdefault(name.removesuffix(".npy"), []).append(np.load(data, allow_pickle=False))
    return {name: np.stack(values) for name, values in rows.items()}


def matrices(columns):
    """x, y and w as far as there are any, shapes (rows, features), (rows,) or (rows, names)."""
    found = [columns[name].astype(np.float32) for name in ("x", "y", "w") if name in columns]
    return [found[0], *(part[:, 0] if part.shape[1] == 1 else part for part in found[1:])]
'''

_BATCHES = '''

def batches(split={split!r}, batch_size=BATCH_SIZE, seed=None, drop_remainder=False):
    """Batches of all rows once: x, or a list of x, y and w.

    Rows come as they lie in the files, the same each time. With a seed, another for each epoch, files come in another order, and
    the rows of each of them too.
    """
    random = None if seed is None else np.random.default_rng(seed)
    paths = files(split)
    rest = None
    for index in range(len(paths)) if random is None else random.permutation(len(paths)):
        arrays = matrices(read(paths[index]))
        if random is not None:
            order = random.permutation(len(arrays[0]))
            arrays = [array[order] for array in arrays]
        if rest is not None:
            arrays = [np.concatenate(pair) for pair in zip(rest, arrays)]
        whole = len(arrays[0]) - len(arrays[0]) % batch_size
        for start in range(0, whole, batch_size):
            batch = [array[start : start + batch_size] for array in arrays]
            yield batch[0] if len(batch) == 1 else batch
        rest = [array[whole:] for array in arrays]
    if rest is not None and len(rest[0]) and not drop_remainder:
        yield rest[0] if len(rest) == 1 else rest
'''

_NUMPY_MAIN = """

if __name__ == "__main__":
    for batch in batches():
        x = batch if isinstance(batch, np.ndarray) else batch[0]
        print("a batch of", x.shape)
        break
"""

_TORCH = '''

class Shards(torch.utils.data.IterableDataset):
    """Batches as tensors, which workers of a DataLoader share; with workers, count `epoch` up yourself before each one."""

    def __init__(self, split={split!r}, batch_size=BATCH_SIZE, shuffle=True):
        super().__init__()
        self.split, self.batch_size, self.shuffle, self.epoch = split, batch_size, shuffle, 0

    def __iter__(self):
        seed = self.epoch if self.shuffle else None
        self.epoch += 1
        worker = torch.utils.data.get_worker_info()
        for number, batch in enumerate(batches(self.split, self.batch_size, seed)):
            if worker is None or number % worker.num_workers == worker.id:
                parts = [batch] if isinstance(batch, np.ndarray) else batch
                yield tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


if __name__ == "__main__":
    torch.manual_seed(1)
    loader = torch.utils.data.DataLoader(Shards(), batch_size=None)  # these are batches already
    width = next(iter(loader))[0].shape[1]
    model = torch.nn.Sequential(
        torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = torch.nn.{loss}()
    for epoch in range(2):
        for x, *rest in loader:
            if len(x) < 2:
                continue
            y = rest[0] if rest else torch.zeros(len(x))
            loss = loss_of(model(x)[:, 0], y.reshape(len(y), -1)[:, 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {{epoch}}: the last loss is {{loss.item():.4f}}")
'''

_TENSORFLOW = '''

def dataset(split={split!r}, batch_size=BATCH_SIZE):
    """A tf.data.Dataset of the same batches; every epoch in another order."""
    first = next(batches(split, batch_size))
    parts = [first] if isinstance(first, np.ndarray) else first
    kinds = tuple(tf.TensorSpec((None, *part.shape[1:]), tf.float32) for part in parts)
    epoch = iter(range(2**31))

    def generate():
        for batch in batches(split, batch_size, seed=next(epoch)):
            yield (batch,) if isinstance(batch, np.ndarray) else tuple(batch)

    return tf.data.Dataset.from_generator(generate, output_signature=kinds).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.BatchNormalization(), layers.Dense(64, "relu"), layers.Dense(1)])
    model.compile("adam", loss={keras_loss})
    model.fit(dataset(), epochs=2)
'''

_TFRECORD_TENSORFLOW = '''

FEATURES = {{{features}}}


def dataset(split={split!r}, batch_size=BATCH_SIZE, shuffle=10_000):
    """A tf.data.Dataset of x, y and w, as far as there are any; every epoch in another order."""
    def parse(records):
        found = tf.io.parse_example(records, FEATURES)

        def side_by_side(names):
            parts = [tf.cast(found[name], tf.float32) for name in names]
            return tf.concat([tf.reshape(part, (tf.shape(part)[0], -1)) for part in parts], axis=1)

        return tuple(side_by_side(names) for names in (X, Y, W) if names)

    records = tf.data.TFRecordDataset([str(path) for path in files(split)], num_parallel_reads=tf.data.AUTOTUNE)
    return records.shuffle(shuffle).batch(batch_size).map(parse, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.BatchNormalization(), layers.Dense(64, "relu"), layers.Dense(1)])
    model.compile("adam", loss={keras_loss})
    model.fit(dataset(), epochs=2)
'''

_IMPORTS = {"parquet": ["import pyarrow.parquet"], "hdf5": ["import h5py"], "webdataset": ["import io", "import tarfile"]}
_FRAMEWORK_IMPORTS = {"numpy": [], "torch": ["import torch"], "tensorflow": ["import tensorflow as tf"]}
_NEEDS = {"parquet": ["pyarrow"], "hdf5": ["h5py"]}


def frameworks(manifest: Manifest) -> tuple[Framework, ...]:
    """What there is code for. TFRecords are read by TensorFlow, and jagged columns are for nobody: they need a choice."""
    if any(column["values"] is None for column in manifest.columns):
        return ()
    return ("tensorflow",) if manifest.recipe.format == "tfrecord" else ("torch", "tensorflow", "numpy")


def snippet(manifest: Manifest, framework: Framework, *, batch_size: int = 1024) -> str:
    """A module that gives batches of shards, and trains on them when it is run.

    Parameters
    ----------
    manifest
        Of the shards; the code lies beside them.
    framework
        One of `frameworks`.
    batch_size
        Rows of a batch.
    """
    recipe = manifest.recipe
    groups = {role: [column["name"] for column in manifest.columns if column["role"] == role] for role in "xyw"}
    split = recipe.splits[0]
    needs = ["numpy", *_NEEDS.get(recipe.format, []), *([] if framework == "numpy" else [framework])]
    standard = [line for line in _IMPORTS.get(recipe.format, []) if recipe.format == "webdataset"]
    others = [line for line in _IMPORTS.get(recipe.format, []) if recipe.format != "webdataset"]
    more = "".join(f", {word}: {', '.join(groups[role])}" for role, word in (("y", "target"), ("w", "weight")) if groups[role])
    head = _HEAD.format(
        title="Batches of a training set.",
        rows=f"{manifest.rows:,}",
        count=len(manifest.shards),
        features=len(groups["x"]),
        more=more.replace("\\", "").replace('"""', ""),
        needs=f"pip install {' '.join(needs)}",
        imports="".join(f"{line}\n" for line in sorted(standard)),
        batch_size=batch_size,
        split=split,
        splits=", ".join(recipe.splits),
        suffix=manifest.shards[0].name[manifest.shards[0].name.index(".") :],
        **{role: json.dumps(names, ensure_ascii=False) for role, names in groups.items()},
    )
    extra = "".join(f"{line}\n" for line in [*others, *_FRAMEWORK_IMPORTS[framework]])
    head = head.replace("import numpy as np\n", f"import numpy as np\n{extra}", 1)
    binary = _is_binary(manifest)
    words = {
        "split": split,
        "loss": "BCEWithLogitsLoss" if binary else "MSELoss",
        "keras_loss": "tf.keras.losses.BinaryCrossentropy(from_logits=True)" if binary else '"mse"',
    }
    if recipe.format == "tfrecord":
        return head + _TFRECORD_TENSORFLOW.format(features=_features(manifest), **words)
    body = _WEBDATASET if recipe.format == "webdataset" else _READ[recipe.format] + _MATRICES
    body += _BATCHES.replace("{split!r}", repr(split))
    main = {"numpy": _NUMPY_MAIN, "torch": _TORCH.format(**words), "tensorflow": _TENSORFLOW.format(**words)}[framework]
    return head + body + main


def _is_binary(manifest: Manifest) -> bool:
    """Whether the target looks like a label: a whole number or a truth value."""
    targets = [column for column in manifest.columns if column["role"] == "y"]
    return len(targets) == 1 and not targets[0]["dtype"].startswith("float")


def _features(manifest: Manifest) -> str:
    entries = []
    for column in manifest.columns:
        kind = "tf.float32" if column["dtype"].startswith("float") else "tf.int64"
        entries.append(f"{json.dumps(column['name'], ensure_ascii=False)}: tf.io.FixedLenFeature([{column['values']}], {kind})")
    return "\n    " + ",\n    ".join(entries) + ",\n"
