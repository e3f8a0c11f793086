"""PyTorch: a module, or what `torch.export.export` made of one, through PyTorch's own exporter to ONNX.

A module is captured with example inputs; a program is translated as it is. The few operators that the exporter translates
wrongly, and recurrent layers, are ours (`_torch_operators`). Files of programs are read by `mlcore.networks.frontends.pt2`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlcore.errors import InputError, MLCoreError, UnsupportedOperatorError
from mlcore.networks.frontends._torch_operators import open_lengths, translations
from mlcore.networks.frontends.onnx import Shapes

if TYPE_CHECKING:
    import torch

OPSET = 20
"""Of the ONNX graphs between PyTorch and the IR."""

_GUESS = 48
"""Of what the sizes are multiples that a module is captured with where only their names are given: few modules cannot have it."""

_TRAINING = {
    "aten.dropout": 2, "aten.dropout_": 2, "aten.feature_dropout": 2, "aten.alpha_dropout": 2, "aten.native_dropout": 2,
    "aten.batch_norm": 5, "aten.instance_norm": 5, "aten.rrelu": 3, "aten.rrelu_with_noise_functional": 4,
    **dict.fromkeys(("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu"), 6),
}  # fmt: skip
"""Operators of which an argument, at this place, says that the network is being trained."""


def read(source: Any, *, shapes: Shapes | None = None, example: Any = None) -> Any:
    """A module or an exported program as an ``onnx.ModelProto``.

    Parameters
    ----------
    source
        A ``torch.nn.Module`` in eval mode, or a ``torch.export.ExportedProgram``.
    shapes
        For a module: shapes of inputs by argument, in which a name is a size that each call may choose. Sizes of inputs that
        it leaves out are those of the example.
    example
        For a module: its arguments, as a tuple, or by name; tensors or arrays. Without it, random float32 of `shapes`.

    Raises
    ------
    InputError
        The module is in training mode, the example does not fit, or what the module does depends on more than it may.
    UnsupportedOperatorError
        The exporter has no translation of an operator.
    """
    import torch

    if not isinstance(source, torch.export.ExportedProgram):
        source = capture(source, shapes or {}, example)
    return to_onnx(source, shapes)


def capture(module: torch.nn.Module, shapes: Shapes, example: Any = None) -> torch.export.ExportedProgram:
    """What `torch.export.export` makes of a module, the named sizes left open; parameters and errors as of `read`."""
    import torch

    if any(part.training for part in module.modules()):
        raise InputError(
            "the module is in training mode: random drops and the statistics of each batch would be part of the code",
            hint="Call module.eval() before.",
            code="network.training",
        )
    bound = _bound(module, shapes, example)
    sizes = _sizes(_tensors(bound), shapes)

    def grow(path: Any, item: Any) -> Any:
        """A size of one is taken for a constant: what is open in it is repeated."""
        wanted = shapes.get(_name(path), ())
        repeats = [sizes[size] // item.shape[axis] if isinstance(size, str) else 1 for axis, size in enumerate(wanted)]
        return item.repeat(repeats) if max(repeats, default=1) > 1 else item

    def open_axes(path: Any, item: Any) -> Any:
        # Not Dim(name), which asks people to write down what the module needs of a size, such as n >= 3.
        wanted = shapes.get(_name(path), ())
        return {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(wanted) if isinstance(size, str)} or None

    pytree = torch.utils._pytree
    bound.arguments.update(pytree.tree_map_with_path(grow, dict(bound.arguments)))
    specification = pytree.tree_map_with_path(open_axes, dict(bound.arguments))

    def exported() -> torch.export.ExportedProgram:
        with _quiet(), open_lengths(), torch.no_grad():
            return torch.export.export(module, bound.args, bound.kwargs, dynamic_shapes=specification)

    try:
        program = exported()
    except Exception as error:  # the module's own code may raise whatever it likes
        raise _not_captured(error, shapes) from error

    def longer(path: Any, item: Any) -> Any:
        for axis, size in enumerate(shapes.get(_name(path), ())):
            if isinstance(size, str):
                item = torch.cat([item, item.narrow(axis, 0, 1)], axis)
        return item

    bound.arguments.update(pytree.tree_map_with_path(longer, dict(bound.arguments)))
    if _holds(program, bound.arguments):
        return program
    try:
        again = exported()
    except Exception:  # there is no other size: a reshape into pairs needs an even one
        return program
    if _steps(again) != _steps(program):
        raise InputError(
            f"the module takes other steps where sizes are other ones: {_first(' and '.join(_guards(program)))}",
            hint="Give numbers in `shapes`, or write the module so that its steps do not depend on sizes.",
            code="network.export",
        )
    return program


def _guards(program: torch.export.ExportedProgram) -> list[str]:
    """What `torch.export` took for granted of open sizes; neither the program nor its ONNX graph checks it."""
    return list(getattr(program, "_guards_code", None) or [])


def _holds(program: torch.export.ExportedProgram, arguments: Mapping[str, Any]) -> bool:
    """Whether all of it is so with other arguments, too."""
    import math

    import torch

    names = {"L": arguments, "torch": torch, "math": math}
    try:
        # Written by torch.export in this process: what is read from a file brings none (`pt2`).
        return all(eval(guard, dict(names)) for guard in _guards(program))  # noqa: S307
    except Exception:  # one that speaks of something else
        return False


def _steps(program: torch.export.ExportedProgram) -> list[str]:
    return [f"{node.target}{node.args}{node.kwargs}" for node in program.graph.nodes]


def to_onnx(program: torch.export.ExportedProgram, shapes: Shapes | None = None) -> Any:
    """An exported program as an ``onnx.ModelProto``: inputs have the arguments' names, outputs those of their keys, open sizes
    those of `shapes`.

    Raises
    ------
    InputError
        It was captured in training mode, or changes its own buffers.
    UnsupportedOperatorError
        The exporter has no translation of an operator.
    """
    import torch

    _check_inference(program)
    try:
        with _quiet(), torch.no_grad():
            exported = torch.onnx.export(
                program, dynamo=True, external_data=False, verbose=False, opset_version=OPSET,
                custom_translation_table=translations(),
            )  # fmt: skip
            model = exported.model_proto if exported is not None else None
    except Exception as error:  # the exporter wraps what it met, in several layers
        raise _not_translated(error) from error
    _tidy(model, program, shapes or {})
    return model


# Arguments.


def _bound(module: torch.nn.Module, shapes: Shapes, example: Any) -> inspect.BoundArguments:
    """The arguments of a call, as tensors."""
    import numpy as np
    import torch

    signature = inspect.signature(module.forward)
    if example is None:
        example = _guess(shapes)
    try:
        if isinstance(example, Mapping):
            bound = signature.bind(**example)
        else:
            bound = signature.bind(*(example if isinstance(example, tuple | list) else (example,)))
    except TypeError as error:
        raise InputError(
            f"the arguments do not fit the module: {error}",
            hint=f"Give `example` or `shapes` for each of {signature}.",
            code="network.example",
        ) from error
    tensors = torch.utils._pytree.tree_map(
        lambda item: torch.from_numpy(np.ascontiguousarray(item)) if isinstance(item, np.ndarray) else item,
        dict(bound.arguments),
    )
    bound.arguments.update(tensors)
    return bound


def _guess(shapes: Shapes) -> dict[str, Any]:
    """Random inputs of shapes alone, each name with another number."""
    import torch

    if not shapes:
        raise InputError(
            "a module says nothing about its inputs",
            hint='Give `example`, the arguments of a call, or `shapes`, such as {"x": ("batch", 8)}, if all are float32.',
            code="network.example",
        )
    numbers: dict[str, int] = {}
    for size in (size for shape in shapes.values() for size in shape if isinstance(size, str)):
        numbers.setdefault(size, _GUESS * (1 + len(numbers)))
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn([size if isinstance(size, int) else numbers[size] for size in shape], generator=generator)
        for name, shape in shapes.items()
    }


def _name(path: Sequence[Any]) -> str:
    """The name that the exporter gives an input: the argument's, with keys of the containers that it lies in."""
    return "_".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)


def _tensors(bound: inspect.BoundArguments) -> dict[str, torch.Tensor]:
    import torch

    leaves, _ = torch.utils._pytree.tree_flatten_with_path(dict(bound.arguments))
    return {_name(path): item for path, item in leaves if isinstance(item, torch.Tensor)}


def _sizes(tensors: Mapping[str, torch.Tensor], shapes: Shapes) -> dict[str, int]:
    """The number of each name in the example, at least 2."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in tensors:
            known = ", ".join(map(repr, tensors)) or "none"
            raise InputError(f"the module has no input {name!r}", hint=f"Its inputs: {known}.", code="network.shapes")
        given = tuple(tensors[name].shape)
        agrees = len(given) == len(shape) and all(
            number == size if isinstance(size, int) else number > 0 and sizes.setdefault(size, number) == number
            for size, number in zip(shape, given, strict=True)
        )
        if not agrees:
            raise InputError(
                f"the example of {name!r} has the shape {given}, which is not {tuple(shape)}",
                hint="Both have to agree in numbers; a name stands for one number everywhere.",
                code="network.shapes",
            )
    return {name: max(number, 2) for name, number in sizes.items()}


# What cannot be.


def _check_inference(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that was captured for training."""
    hint = "Call module.eval() before torch.export.export."
    for node in program.graph.nodes:
        packet = str(getattr(node.target, "overloadpacket", ""))
        place = _TRAINING.get(packet)
        drops = packet == "aten.scaled_dot_product_attention" and _argument(node, 4, "dropout_p")
        if drops or (place is not None and _argument(node, place, ("train", "training", "use_input_stats"))):
            raise InputError(
                f"the program was captured in training mode: {node.name} is {packet}", hint=hint, code="network.training"
            )
    if changed := sorted(program.graph_signature.buffers_to_mutate.values()):
        raise InputError(
            f"the program changes its own buffers: {', '.join(changed[:5])}",
            hint=f"{hint} A network with a memory has to take it as an input and give it as an output.",
            code="network.training",
        )


def _argument(node: Any, place: int, names: str | tuple[str, ...]) -> Any:
    names = (names,) if isinstance(names, str) else names
    return (
        node.args[place] if len(node.args) > place else next((node.kwargs[name] for name in names if name in node.kwargs), None)
    )


def _not_captured(error: Exception, shapes: Shapes) -> InputError:
    """What `torch.export` says."""
    text = str(error)
    if found := re.search(
        r"You marked L\['(\w+)'\](\S*)\.size\(\)\[(\d+)\] as dynamic but your code specialized it to .*\((\d+)\)", text
    ):
        name, axis, number = found[1], int(found[3]), found[4]
        wanted = shapes.get(name, ())
        size = f"{wanted[axis]!r}" if axis < len(wanted) else "one"
        return InputError(
            f"the size {size} of {name!r} cannot stay open: the module's own code makes it {number}",
            hint=f"Give the number in `shapes`, or write the module so that it takes others: loops over a size, int(size) and "
            f"tensors of {number} elements are what fixes it.",
            code="network.export",
        )  # fmt: skip
    if "data-dependent" in text or "Dynamic control flow" in text:
        hint = "Steps that depend on values are written with torch.where, masks or torch.cond."
    else:
        hint = "Does the module run with this example?"
    return InputError(f"the module cannot be captured: {_first(text)}", hint=hint, code="network.export")


def _not_translated(error: Exception) -> MLCoreError:
    """What the exporter says at the bottom of its errors."""
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 20:
        chain.append(inner)
    texts = [str(item) for item in chain]
    node = next((match[1] for text in texts if (match := re.search(r"translating node %(\S+)", text))), "")
    for text in texts:
        if found := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text):
            return UnsupportedOperatorError(
                found[1].replace(".", "::"), OPSET, node, "PyTorch's exporter to ONNX has no translation of it",
                hint="Write it with other operators, or compute it outside of the network.",
            )  # fmt: skip
    return InputError(
        f"PyTorch's exporter to ONNX failed{f' at {node}' if node else ''}: {_first(texts[-1])}",
        hint="Write this part of the module with other operators.",
        code="network.export",
    )


def _first(text: str) -> str:
    """The first lines of a message, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:4])[:500] or "no reason given"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch tells people who run it by hand about deprecations inside itself, and about packages that it does without."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# What comes out.


def _tidy(model: Any, program: torch.export.ExportedProgram, shapes: Shapes) -> None:
    """Give sizes and outputs names that mean something, and take out what tells of the machine that exported."""
    for graph in _graphs(model):
        for item in (*graph.node, *graph.value_info):
            del item.metadata_props[:]
            item.doc_string = ""
        if hasattr(graph, "metadata_props"):
            del graph.metadata_props[:]
    del model.metadata_props[:]
    _name_sizes(model, shapes)
    _name_outputs(model.graph, _output_names(program, len(model.graph.output)))


def _graphs(model: Any) -> Iterator[Any]:
    """The graph of a model, its functions, and all graphs inside their nodes."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]


def _name_sizes(model: Any, shapes: Shapes) -> None:
    """Names of `shapes`; else the first open axis is the batch, others are called by their input and place."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        wanted = shapes.get(value.name, ())
        for axis, dim in enumerate(dims):
            if re.fullmatch(r"[su]\d+", dim.dim_param) and dim.dim_param not in names:
                given = wanted[axis] if len(wanted) == len(dims) else None
                fallback = "batch" if axis == 0 and "batch" not in names.values() else f"{value.name}_{axis}"
                names[dim.dim_param] = given if isinstance(given, str) else fallback
    for graph in _graphs(model):
        values = (*graph.input, *graph.output, *graph.value_info) if hasattr(graph, "initializer") else graph.value_info
        for value in values:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = re.sub(r"\b[su]\d+\b", lambda match: names.get(match[0], match[0]), dim.dim_param)


def _output_names(program: torch.export.ExportedProgram, count: int) -> list[str]:
    """Keys of a dictionary or fields of a named tuple; else ``output``, or ``output_0`` and so on."""
    import torch

    spec = program.call_spec.out_spec
    if spec is not None and spec.num_leaves == count:
        pytree = torch.utils._pytree
        paths = [path for path, _ in pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(count)), spec))[0]]
        if all(any(not hasattr(key, "idx") for key in path) for path in paths):
            return [_name(path) for path in paths]
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _name_outputs(graph: Any, wanted: Sequence[str]) -> None:
    """Rename outputs where nothing else has the name; one that is an input or a second output is passed on by a node."""
    from onnx import helper

    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {value.name for value in graph.input}
    made = {name: node for node in graph.node for name in node.output}
    renamed: dict[str, str] = {}
    for value, name in zip(graph.output, wanted, strict=True):
        if value.name == name:
            continue
        while name in taken:
            name += "_"
        taken.add(name)
        if value.name in made and value.name not in renamed:
            renamed[value.name] = name
        else:
            graph.node.append(helper.make_node("Identity", [renamed.get(value.name, value.name)], [name]))
        value.name = name
    _rename(graph, renamed)


def name_inputs(graph: Any, wanted: Sequence[str]) -> None:
    """Rename the inputs, in order."""
    renamed = {value.name: name for value, name in zip(graph.input, wanted, strict=True)}
    made = {name for node in graph.node for name in node.output} & set(wanted)
    _rename(graph, {name: f"{name}_" for name in made} | renamed)
    for value in graph.input:
        value.name = renamed[value.name]


def _rename(graph: Any, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, renamed)
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)
