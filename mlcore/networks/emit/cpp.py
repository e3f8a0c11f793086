"""C++17: a graph as one function in a header, its constants as a block of bytes.

The shape of the code::

    namespace NAME {
    struct Workspace { nn::Buffer arena; ... };
    namespace after { inline constexpr auto add_relu = ...; }   // what products do with each number of their result
    inline void run(const std::byte* weights, Workspace& workspace, std::int64_t n, const float* x, float* y) {
      const float* const w1 = nn::at<float>(weights, 0);        // constants
      std::byte* const arena = workspace.arena.get<std::byte>(8192);
      float* const t1 = nn::at<float>(arena, 0);                // values, where the memory plan puts them
      // Relu "act" (float32[n, 8]) -> float32[n, 8]
      ...
    }
    }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mlcore.networks.code import Storage, Writer, cpp_size, object_type, text_literal
from mlcore.networks.emit import memory
from mlcore.networks.ir import Array, DType, Graph, Names, Node, Size, Symbol, TensorType, Value, identifier
from mlcore.networks.ir.graph import AROUND_PORTS
from mlcore.networks.ir.sizes import symbols


@dataclass(frozen=True)
class Port:
    """An input or output of the generated function.

    Attributes
    ----------
    name
        In the model.
    variable
        In the C++.
    form
        ``"plain"``: a pointer to elements whose number is known from the sizes; ``"late"``: a view of a tensor whose shape the
        call finds out; ``"object"``: texts, a sequence, an optional value.
    """

    name: str
    variable: str
    value: Value
    form: str


@dataclass(frozen=True)
class Emitted:
    """Generated code.

    Attributes
    ----------
    name
        Of the namespace.
    code
        The namespace, without the headers it needs.
    entry
        The C face, to be compiled behind `code`.
    headers
        Headers of the kernels that the code includes.
    weights
        The constants, each at a multiple of 64 bytes.
    sizes
        The symbols that a call is given numbers for.
    bounds
        The largest numbers of some of these, by name.
    workspace_bytes
        Of a call, where no size is a symbol without a bound.
    profiled
        The nodes that have a clock, in order; none where none was asked for.
    """

    name: str
    code: str
    entry: str
    headers: tuple[str, ...]
    weights: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sizes: tuple[Symbol, ...]
    workspace_bytes: int | None
    memory: memory.MemoryPlan
    bounds: Mapping[str, int] = field(default_factory=dict)
    profiled: tuple[Node, ...] = ()


def emit(graph: Graph, name: str, *, profile: bool = False) -> Emitted:
    """Write a graph as C++.

    Parameters
    ----------
    name
        The namespace, an identifier.
    profile
        Whether the code reads a clock behind each node of the graph itself, and adds up what each took in ``Workspace::spent``.
    """
    sizes = sorted({item for value in graph.inputs for size in _shape(value) for item in symbols(size)})
    taken = {item.name for value in _values(graph) for size in _shape(value) for item in symbols(size)}
    names = Names({*taken, *AROUND_PORTS})
    inputs = tuple(_port(value, f"input_{i}", names) for i, value in enumerate(graph.inputs))
    outputs = tuple(_port(value, f"output_{i}", names) for i, value in enumerate(graph.outputs))
    code = Writer([*taken, *(port.variable for port in (*inputs, *outputs))])
    code.constraints = list(graph.constraints)
    code.known.update(sizes)
    produced = {value for node in graph.nodes for value in node.outputs}
    for port in inputs:
        code.bind(port.value, Storage(port.variable, "input", _cpp(port.value), 0, 0, 0, 0, port.value))
    direct = []
    for port in outputs:
        if port.form == "plain" and port.value in produced and not code.has_storage(port.value):
            code.bind(port.value, Storage(port.variable, "output", _cpp(port.value), 0, 0, 0, 0, port.value))
            direct.append(port)
    for item in sizes:
        if item.name in graph.bounds:
            most = graph.bounds[item.name]
            why = f"the size {item.name} is larger than {most}, the bound that the code was written for"
            code.line(f"nn::require({item.name} <= {most}, {text_literal(why)});")
    code.check_constraints()
    if profile:
        _write_timed(graph, code)
    else:
        code.write_nodes(graph)
    code.position += 1
    code.line()
    for port in outputs:
        if port not in direct:
            _hand_over(port, code)
    for storage in code.storages:
        if storage.kind == "output":
            storage.last = code.position
    plan = memory.plan(code.storages, graph.bounds)
    written = _assemble(name, code, plan, inputs, outputs, tuple(sizes), tuple(graph.nodes) if profile else ())
    return replace(written, bounds=dict(graph.bounds))


def _write_timed(graph: Graph, code: Writer) -> None:
    """Write the nodes with a clock behind each: one reading serves as the end of a node and the beginning of the next."""
    code.line("auto clock = std::chrono::steady_clock::now();")
    for number, node in enumerate(graph.nodes):
        code.write_node(node)
        with code.block():
            code.line("const auto now = std::chrono::steady_clock::now();")
            code.line(f"workspace.spent[{number}] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - clock).count();")
            code.line("clock = now;")
    code.check_constraints()


def _values(graph: Graph) -> Iterator[Value]:
    """Every value that is given or computed, in subgraphs too."""
    yield from graph.inputs
    for node in graph.nodes:
        yield from node.outputs
        for inner in node.graphs:
            yield from _values(inner)


def _shape(value: Value) -> tuple[Size, ...]:
    return value.type.shape or () if isinstance(value.type, TensorType) else ()


def _port(value: Value, fallback: str, names: Names) -> Port:
    variable = names.fresh(identifier(value.name) or fallback)
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape is None or kind.dtype is DType.STRING:
        form = "object"
    else:
        form = "late" if kind.is_late else "plain"
    return Port(value.name, variable, value, form)


def _cpp(value: Value) -> str:
    kind = value.type
    if isinstance(kind, TensorType) and kind.shape is not None and kind.dtype is not DType.STRING:
        return kind.dtype.cpp
    return object_type(kind)


def _hand_over(port: Port, code: Writer) -> None:
    """Give the caller an output that does not lie in the caller's memory."""
    source = code.ref(port.value)
    if port.form == "plain":
        code.line(f"nn::copy({source}, {cpp_size(port.value.count)}, {port.variable});")
    elif port.form == "late" or is_text(port.value):
        code.line(f"{port.variable} = {{{source}, {code.sizes(port.value.shape)}}};")
    else:
        code.line(f"{port.variable} = &{source};")


def is_text(value: Value) -> bool:
    """Whether it is a tensor of texts."""
    return isinstance(value.type, TensorType) and value.type.shape is not None and value.type.dtype is DType.STRING


def parameter(port: Port, *, output: bool) -> str:
    """A parameter of the generated function."""
    value = port.value
    if port.form == "plain":
        return f"{'' if output else 'const '}{value.dtype.cpp}* {port.variable}"
    if port.form == "late":
        return f"nn::View<{value.dtype.cpp}, {value.rank}>& {port.variable}"
    if is_text(value):
        return f"nn::View<std::string, {value.rank}>& {port.variable}" if output else f"const std::string* {port.variable}"
    return f"const {object_type(value.type)}*& {port.variable}" if output else f"const {object_type(value.type)}& {port.variable}"


def _assemble(
    name: str,
    code: Writer,
    plan: memory.MemoryPlan,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    sizes: tuple[Symbol, ...],
    profiled: tuple[Node, ...],
) -> Emitted:
    if any(storage.cpp.startswith("nn::") for storage in code.storages):
        code.include("kernels/nn/types.hpp")
    weights, offsets, text_tables = _weights(code.constants)
    lines = ["#include <chrono>", ""] if profiled else []
    lines += [f"namespace {name} {{", "", "namespace nn = kernels::nn;", ""]
    lines += [f"constexpr std::int64_t weights_bytes = {len(weights)};", ""]
    lines += ["// Memory of a call; each thread needs its own.", "struct Workspace {", "  nn::Buffer arena;"]
    for storage in code.storages:
        if storage.kind == "late":
            lines.append(f"  nn::Buffer {storage.name};")
        elif storage.kind == "object":
            lines.append(f"  {storage.cpp} {storage.name};")
    # Texts that are known stand here and not in the namespace, where libraries of equal names would share them.
    lines += [f"  std::vector<std::string> {table}{{{texts}}};" for table, texts in text_tables.items()]
    if profiled:
        lines.append(f"  std::int64_t spent[{len(profiled)}] = {{}};  // nanoseconds in each node, over all calls")
    lines += ["};", ""]
    if code.functions:
        lines += ["// What is done with each number of a product before it is stored.", "namespace after {"]
        lines += [f"inline constexpr auto {function} = {text};" for text, function in code.functions.items()]
        lines += ["}  // namespace after", ""]
    parameters = ["const std::byte* weights", "Workspace& workspace"]
    parameters += [f"std::int64_t {item.name}" for item in sizes]
    parameters += [parameter(port, output=False) for port in inputs] + [parameter(port, output=True) for port in outputs]
    lines.append(f"inline void run({', '.join(parameters)}) {{")
    lines.append("  (void)weights, (void)workspace;")
    lines += [f"  (void){item.name};" for item in sizes]
    # Inputs that nothing reads, as those that give a type alone.
    unread = {storage.name for storage in code.storages if storage.kind == "input" and storage.last == 0}
    lines += [f"  (void){port.variable};" for port in inputs if port.variable in unread]
    lines += [
        f"  const {dtype.cpp}* const {weight} = nn::at<{dtype.cpp}>(weights, {offsets[weight]});"
        for weight, dtype in _pointers(code.constants)
    ]
    lines += [f"  const std::string* const {table} = workspace.{table}.data();" for table in text_tables]
    lines += _arena(plan, code)
    lines += [f"  auto& {storage.name} = workspace.{storage.name};" for storage in code.storages if storage.kind == "object"]
    lines += code.lines
    lines += ["}", "", f"}}  // namespace {name}", ""]
    return Emitted(
        name=name,
        code="\n".join(lines),
        entry=_entry(name, inputs, outputs, sizes) + (_spent(name, len(profiled)) if profiled else ""),
        headers=tuple(sorted(code.headers)),
        weights=weights,
        inputs=inputs,
        outputs=outputs,
        sizes=sizes,
        workspace_bytes=plan.static_bytes if not plan.slots else None,
        memory=plan,
        profiled=profiled,
    )


def _arena(plan: memory.MemoryPlan, code: Writer) -> list[str]:
    if not plan.offsets and not plan.slots:
        return []
    lines = []
    end = str(plan.static_bytes)
    slots = [code.fresh("slot") for _ in plan.slots]
    for name, slot in zip(slots, plan.slots, strict=True):
        lines.append(f"  const std::int64_t {name} = {end};")
        end = f"{name} + nn::room({cpp_size(slot.bytes)})"
    lines.append(f"  std::byte* const arena = workspace.arena.get<std::byte>({end});")
    for storage, offset in plan.offsets.items():
        lines.append(f"  {storage.cpp}* const {storage.name} = nn::at<{storage.cpp}>(arena, {offset});")
    for name, slot in zip(slots, plan.slots, strict=True):
        lines += [f"  {storage.cpp}* const {storage.name} = nn::at<{storage.cpp}>(arena, {name});" for storage in slot.storages]
    return lines


def _pointers(constants: Sequence[tuple[str, Array]]) -> list[tuple[str, DType]]:
    return [(name, DType.of(array)) for name, array in constants if DType.of(array) is not DType.STRING]


def _weights(constants: Sequence[tuple[str, Array]]) -> tuple[bytes, dict[str, int], dict[str, str]]:
    """The constants as bytes, the offset of each, and tables of texts by name, which stand in the code.

    Equal constants are stored once: a sampler uses the same weights in each of its steps.
    """
    blocks: list[bytes] = []
    offsets: dict[str, int] = {}
    tables: dict[str, str] = {}
    known: dict[bytes, int] = {}
    end = 0
    for name, array in constants:
        if DType.of(array) is DType.STRING:
            tables[name] = ", ".join(
                f"std::string({text_literal(str(item))}, {len(str(item).encode('utf-8', 'surrogateescape'))})"
                for item in array.reshape(-1)
            )
            continue
        data = np.ascontiguousarray(array).tobytes()
        offsets[name] = known.setdefault(hashlib.sha256(data).digest(), end)
        if offsets[name] != end:
            continue
        padded = data + bytes(memory.aligned(len(data)) - len(data))
        blocks.append(padded)
        end += len(padded)
    return b"".join(blocks), offsets, tables


# The C face.


def _entry(name: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...], sizes: tuple[Symbol, ...]) -> str:
    lines = [
        "namespace {",
        f"struct {name}_handle {{",
        "  const std::byte* weights;",
        f"  {name}::Workspace workspace;",
        f"  {name}::nn::Held held;",
    ]
    lines += [f"  {name}::nn::Buffer out{i};" for i, port in enumerate(outputs) if port.form == "plain"]
    lines += [
        f"  {object_type(port.value.type).replace('nn::', f'{name}::nn::')} in{i};"
        for i, port in enumerate(inputs)
        if port.form == "object" and not is_text(port.value)
    ]
    lines += ["};", "}  // namespace", 'extern "C" {']
    lines.append(f"void* {name}_open(const void* weights) {{")
    lines += [
        f"  auto* handle = new (std::nothrow) {name}_handle();",
        "  if (handle) handle->weights = static_cast<const std::byte*>(weights);",
        "  return handle;",
        "}",
    ]
    lines.append(f"void {name}_close(void* handle) {{ delete static_cast<{name}_handle*>(handle); }}")
    lines.append(
        f"int {name}_call(void* opaque, const {name}::nn::Value* in, {name}::nn::Value* out, char* message, "
        "std::int64_t message_size) {"
    )
    lines.append(f"  namespace nn = {name}::nn;")
    lines.append(f"  auto& handle = *static_cast<{name}_handle*>(opaque);")
    lines.append("  (void)in, (void)out;")
    lines.append("  return nn::guarded([&] {")
    lines.append("    handle.held.clear();")
    lines += [f"    {line}" for line in _bindings(inputs, sizes)]
    arguments = ["handle.weights", "handle.workspace", *(item.name for item in sizes)]
    for i, port in enumerate(inputs):
        if port.form != "object":
            arguments.append(f"static_cast<const {port.value.dtype.cpp}*>(in[{i}].data)")
        elif is_text(port.value):
            arguments.append(f"nn::texts(in[{i}], handle.held)")
        else:
            lines.append(f"    nn::take(in[{i}], {_element_number(port.value)}, handle.in{i});")
            arguments.append(f"handle.in{i}")
    for i, port in enumerate(outputs):
        value = port.value
        if port.form == "plain":
            lines.append(f"    auto* const y{i} = handle.out{i}.get<{value.dtype.cpp}>({cpp_size(value.count)});")
            arguments.append(f"y{i}")
        elif port.form == "late" or is_text(value):
            lines.append(f"    nn::View<{value.dtype.cpp}, {value.rank}> y{i};")
            arguments.append(f"y{i}")
        else:
            lines.append(f"    const {object_type(value.type)}* y{i} = nullptr;")
            arguments.append(f"y{i}")
    lines.append(f"    {name}::run({', '.join(arguments)});")
    for i, port in enumerate(outputs):
        value = port.value
        if port.form == "plain":
            lines.append(f"    nn::give({value.dtype.number}, static_cast<const void*>(y{i}), {_sizes(value)}, out[{i}]);")
        elif port.form == "late":
            lines.append(f"    nn::give({value.dtype.number}, static_cast<const void*>(y{i}.data), y{i}.shape, out[{i}]);")
        elif is_text(value):
            lines.append(f"    nn::give({value.dtype.number}, y{i}.data, y{i}.shape, out[{i}], handle.held);")
        else:
            lines.append(f"    nn::give({_element_number(value)}, *y{i}, out[{i}], handle.held);")
    lines += ["  }, message, message_size);", "}", '}  // extern "C"', ""]
    return "\n".join(lines)


def _spent(name: str, n_nodes: int) -> str:
    """The C face of the clocks: hands out what they added up, and sets them to zero."""
    return f"""extern "C" void {name}_spent(void* opaque, std::int64_t* nanoseconds) {{
  auto& spent = static_cast<{name}_handle*>(opaque)->workspace.spent;
  for (int i = 0; i < {n_nodes}; ++i) {{
    nanoseconds[i] = spent[i];
    spent[i] = 0;
  }}
}}
"""


def _element_number(value: Value) -> int:
    kind = value.type
    while not isinstance(kind, TensorType):
        kind = kind.element
    return kind.dtype.number


def _sizes(value: Value) -> str:
    return f"nn::sizes({', '.join(map(cpp_size, value.shape))})"


def _bindings(inputs: tuple[Port, ...], sizes: tuple[Symbol, ...]) -> list[str]:
    """Take the sizes from the inputs' shapes, and check everything else about the inputs."""
    lines = []
    bound: set[Symbol] = set()
    for i, port in enumerate(inputs):
        if port.form == "object" and not is_text(port.value):
            continue
        value = port.value
        label = text_literal(f"input {port.name}: {value.type} is needed")
        lines.append(f"nn::expect(in[{i}], {value.dtype.number}, {value.rank}, {label});")
        for axis, size in enumerate(value.shape):
            given = f"in[{i}].dims[{axis}]"
            found = list(symbols(size))
            if isinstance(size, int):
                lines.append(f"nn::require({given} == {size}, {label});")
            elif found[0] not in bound:
                bound.add(found[0])
                lines.append(f"const std::int64_t {found[0].name} = {given};")
            else:
                lines.append(f"nn::require({given} == {found[0].name}, {label});")
    lines += [f"(void){item.name};" for item in sizes]
    return lines
