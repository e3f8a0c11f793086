"""A project around generated code: header, weights, self-test, example, build files, README."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from string import Template

import numpy as np

import kernels.sources
from mlcore.errors import InputError
from mlcore.networks.code import cpp_size, text_literal
from mlcore.networks.emit import c_face
from mlcore.networks.emit.cpp import Emitted, Port, is_text, parameter
from mlcore.networks.ir import Array, TensorType, identifier
from mlcore.networks.ir.sizes import Size, Symbol, substitute, symbol, symbols


@dataclass(frozen=True, eq=False)
class References:
    """What the self-test holds the code against.

    Attributes
    ----------
    inputs, outputs
        In the order of the network's.
    sizes
        The numbers of the symbols, by name.
    tolerances
        Of each output, relative to 1 + its largest magnitude.
    source
        What computed the outputs, in words.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    sizes: Mapping[str, int]
    tolerances: tuple[float, ...]
    source: str


def check_name(name: str) -> None:
    """Refuse what cannot be a namespace.

    Raises
    ------
    InputError
        With what to choose instead.
    """
    if identifier(name, most=64) != name.lower() or not name.isidentifier() or not name.isascii() or name.endswith("_"):
        raise InputError(
            f"{name!r} cannot be the name of C++ code",
            hint="Letters, digits and single underscores, beginning with a letter, and no keyword.",
            code="network.name",
        )


def project(
    emitted: Emitted, *, model: str = "", references: References | None = None, options: Sequence[str] = ()
) -> dict[str, bytes]:
    """All files of a project, by name.

    Parameters
    ----------
    model
        Where the network comes from, in words.
    references
        For the self-test; without them there is none, as for networks of texts and sequences.
    options
        Of the compiler, besides the user's own.
    """
    name = emitted.name
    fingerprint = hashlib.sha256(emitted.code.encode() + emitted.weights).digest()[:8]
    head = b"NNWEIGHT" + fingerprint + len(emitted.weights).to_bytes(8, "little")
    contents = {
        f"{name}.hpp": header(emitted, model, int.from_bytes(fingerprint, "little")),
        **_c_face(emitted),
        f"{name}_weights.cpp": _filled("embedded.cpp.in", name=name),
        "main.cpp": _filled("main.cpp.in", name=name, body=_example(emitted)),
        "CMakeLists.txt": _filled(
            "CMakeLists.txt.in",
            name=name,
            options=f"target_compile_options({name} INTERFACE {' '.join(options)})\n" if options else "",
        ),
        "README.md": _readme(emitted, model, references is not None, options),
    }
    result = {key: text.encode() for key, text in contents.items()}
    result[f"{name}.weights"] = head + bytes(64 - len(head)) + emitted.weights
    if references is not None:
        result["selftest.cpp"] = _selftest(emitted, references).encode()
        result["selftest.bin"] = b"".join(
            np.ascontiguousarray(item).tobytes() for item in (*references.inputs, *references.outputs)
        )
    return result


def header(emitted: Emitted, model: str, fingerprint: int) -> str:
    """The one header, with the parts of the runtime that the network needs inside its namespace."""
    runtime = kernels.sources.joined(*emitted.headers, "kernels/nn/weights.hpp", "kernels/nn/entry.hpp")
    system = sorted({*runtime.system, "memory"})
    ports = [
        *(parameter(port, output=False) for port in emitted.inputs),
        *(parameter(port, output=True) for port in emitted.outputs),
    ]
    sizes = ", ".join(_size_name(item, emitted) for item in emitted.sizes)
    parameters = [*(f"std::int64_t {item.name}" for item in emitted.sizes), *ports]
    arguments = [*(item.name for item in emitted.sizes), *(port.variable for port in (*emitted.inputs, *emitted.outputs))]
    facts = [f"// From {_plain(model)}." if model else "// From a model in memory."]
    facts += [
        f"//   {'input ' if port in emitted.inputs else 'output'} {port.variable}: {_plain(str(port.value.type))}"
        for port in (*emitted.inputs, *emitted.outputs)
    ]
    return _filled(
        "header.hpp.in",
        name=emitted.name,
        provenance="\n".join(facts),
        includes="\n".join(f"#include <{item}>" for item in system),
        runtime=runtime.text,
        code=emitted.code,
        fingerprint=f"{fingerprint}u",
        example_arguments=", ".join(arguments),
        parameters=", ".join(parameters),
        comma_parameters="".join(f", {item}" for item in parameters),
        comma_arguments="".join(f", {item}" for item in arguments),
        parameters_comment=f" {sizes}: sizes that differ from call to call." if sizes else "",
        functor=_functor(emitted),
    )


def _c_face(emitted: Emitted) -> dict[str, str]:
    """The C face; a header for C only where C has the types for it."""
    name, parameters = emitted.name, ""
    files, functions = {}, ""
    if c_face.has_c_face(emitted):
        parameters = "".join(f", {item}" for item in c_face.parameters(emitted))
        functions = _filled("c_functions.cpp.in", name=name, parameters=parameters, body=c_face.body(emitted))
        files[f"{name}.h"] = _filled("c_header.h.in", name=name, parameters=parameters, views=c_face.views(emitted))
    said = f", as {name}.h declares it" if functions else ""
    return files | {f"{name}_c.cpp": _filled("c_api.cpp.in", name=name, said=said, functions=functions, entry=emitted.entry)}


def _filled(template: str, **values: str) -> str:
    return Template(files("mlcore.networks.emit").joinpath("templates", template).read_text(encoding="utf-8")).substitute(values)


def _plain(text: str) -> str:
    """Foreign text for a comment or a document."""
    return "".join(c if c.isascii() and c.isprintable() and c not in "\\`<>|" else "?" for c in text)


# ROOT.


def _functor(emitted: Emitted) -> str:
    """A functor for RDataFrame, where all inputs are plain and one output is."""
    if len(emitted.outputs) != 1 or emitted.outputs[0].form != "plain" or not emitted.inputs:
        return ""
    if any(port.form != "plain" for port in emitted.inputs):
        return ""
    told: dict[str, str] = {}
    lines = []
    for i, port in enumerate(emitted.inputs):
        count = port.value.count
        unknown = sorted({item for item in symbols(count) if item.name not in told})
        if len(unknown) == 1:
            text = _solved(count, unknown[0].name, f"static_cast<std::int64_t>(x{i}.size())")
            if text is None:
                return ""
            told[unknown[0].name] = text
            lines.append(f"    const std::int64_t {unknown[0].name} = {text};")
        elif unknown:
            return ""
        label = text_literal(f"input {port.name}: the vector has another number of elements than {port.value.type}")
        lines.append(f"    nn::require(static_cast<std::int64_t>(x{i}.size()) == {cpp_size(count)}, {label});")
    if any(item.name not in told for item in emitted.sizes):
        return ""
    output = emitted.outputs[0].value
    vectors = [f"class V{i} = std::vector<{port.value.dtype.cpp}>" for i, port in enumerate(emitted.inputs)]
    arguments = [*(item.name for item in emitted.sizes), *(f"x{i}.data()" for i in range(len(emitted.inputs)))]
    return _filled(
        "functor.hpp.in",
        name=emitted.name,
        columns=", ".join(f'"{port.variable}"' for port in emitted.inputs),
        vector_types=", ".join(vectors),
        output_type=output.dtype.cpp,
        functor_parameters="".join(f", const V{i}& x{i}" for i in range(len(emitted.inputs))),
        functor_sizes="\n".join(lines),
        output_count=cpp_size(output.count),
        functor_arguments="".join(f", {item}" for item in arguments),
    )


def _solved(count: Size, name: str, given: str) -> str | None:
    """A symbol from a number of elements that is a multiple of it."""
    each = substitute(count, lambda item: 1 if item.name == name else symbol(item.name))
    if count != each * symbol(name):
        return None
    return f"{given} / {cpp_size(each)}" if each != 1 else given


# Self-test, example, README.


def _selftest(emitted: Emitted, references: References) -> str:
    lines = [f"  const std::int64_t {item.name} = {references.sizes[item.name]};" for item in emitted.sizes]
    lines += [f"  (void){item.name};" for item in emitted.sizes]
    arguments = [item.name for item in emitted.sizes]
    for i, (port, array) in enumerate(zip(emitted.inputs, references.inputs, strict=True)):
        lines.append(f"  const auto x{i} = read<{_element(port, emitted.name)}>(file, {array.size});")
        arguments.append(_pointer(port, f"x{i}"))
    for i, (port, array) in enumerate(zip(emitted.outputs, references.outputs, strict=True)):
        lines.append(f"  const auto expected{i} = read<{_element(port, emitted.name)}>(file, {array.size});")
        if port.form == "plain":
            lines.append(f"  std::vector<{_element(port, emitted.name)}> y{i}({max(1, array.size)});")
            arguments.append(_pointer(port, f"y{i}", constant=False))
        else:
            lines.append(f"  {emitted.name}::nn::View<{_element(port, emitted.name, stored=False)}, {port.value.rank}> y{i};")
            arguments.append(f"y{i}")
    lines.append(f"  session.infer({', '.join(arguments)});")
    for i, (port, tolerance) in enumerate(zip(emitted.outputs, references.tolerances, strict=True)):
        label = text_literal(port.name)
        if port.form != "plain":
            lines.append(f"  wrong += {emitted.name}::nn::product(y{i}.shape) != {references.outputs[i].size};")
            lines.append("  if (wrong) return wrong;")
        found = f"y{i}.data()" if port.form == "plain" else f"reinterpret_cast<const {_element(port, emitted.name)}*>(y{i}.data)"
        lines.append(f"  wrong += compare({label}, {found}, expected{i}, {tolerance!r});")
    return _filled("selftest.cpp.in", name=emitted.name, reference=_plain(references.source), body="\n".join(lines))


def _element(port: Port, scope: str, *, stored: bool = True) -> str:
    """The C++ type of elements; bool is kept in vectors as bytes."""
    cpp = port.value.dtype.cpp
    if cpp == "bool":
        return "unsigned char" if stored else "bool"
    return cpp.replace("nn::", f"{scope}::nn::")


def _pointer(port: Port, name: str, *, constant: bool = True) -> str:
    if port.value.dtype.cpp == "bool":
        return f"reinterpret_cast<{'const ' if constant else ''}bool*>({name}.data())"
    return f"{name}.data()"


def _example(emitted: Emitted) -> str:
    if any(port.form == "object" for port in (*emitted.inputs, *emitted.outputs)):
        return '  (void)session;\n  std::puts("the weights are right");'
    lines = [f"  const std::int64_t {item.name} = 1;" for item in emitted.sizes]
    lines += [f"  (void){item.name};" for item in emitted.sizes]
    arguments = [item.name for item in emitted.sizes]
    for i, port in enumerate(emitted.inputs):
        count = f"static_cast<std::size_t>({cpp_size(port.value.count)} + 1)"
        lines.append(f"  const std::vector<{_element(port, emitted.name)}> x{i}({count});")
        arguments.append(_pointer(port, f"x{i}"))
    for i, port in enumerate(emitted.outputs):
        if port.form == "plain":
            lines.append(
                f"  std::vector<{_element(port, emitted.name)}> y{i}(static_cast<std::size_t>({cpp_size(port.value.count)}) + 1);"
            )
            arguments.append(_pointer(port, f"y{i}", constant=False))
        else:
            lines.append(f"  {emitted.name}::nn::View<{_element(port, emitted.name, stored=False)}, {port.value.rank}> y{i};")
            arguments.append(f"y{i}")
    lines.append(f"  session.infer({', '.join(arguments)});")
    for i, port in enumerate(emitted.outputs):
        value = (
            f"static_cast<double>(y{i}[0])"
            if port.form == "plain"
            else f"static_cast<double>({emitted.name}::nn::product(y{i}.shape))"
        )
        what = "the first number of" if port.form == "plain" else "the number of elements of"
        lines.append(f'  std::printf("{what} {port.variable}: %g\\n", {value});')
    return "\n".join(lines)


def _size_name(item: Symbol, emitted: Emitted, quote: str = "") -> str:
    """A size that each call chooses, with its bound if it has one."""
    name = f"{quote}{item.name}{quote}"
    return f"{name} (at most {emitted.bounds[item.name]})" if item.name in emitted.bounds else name


def _readme(emitted: Emitted, model: str, selftest: bool, options: Sequence[str]) -> str:
    rows = [
        f"| {kind} | {_plain(port.name)} | `{_plain(parameter(port, output=kind != 'input'))}` | {_plain(str(port.value.type))} |"
        for kind, ports in (("input", emitted.inputs), ("output", emitted.outputs))
        for port in ports
    ]
    names = ", ".join(_size_name(item, emitted, quote="`") for item in emitted.sizes)
    return _filled(
        "README.md.in",
        name=emitted.name,
        from_model=f" from {_plain(model)}" if model else "",
        selftest_row="| `selftest.cpp`, `selftest.bin` | compares the code with what the model's library computed |\n"
        if selftest
        else "",
        ports="\n".join(rows),
        options=f" and `{' '.join(options)}`" if options else "",
        c_row=_c_row(emitted),
        sizes=f"The sizes {names} are arguments of each call.\n" if names else "",
    )


def _c_row(emitted: Emitted) -> str:
    name = emitted.name
    if c_face.has_c_face(emitted):
        return f"`{name}.h`, `{name}_c.cpp` | the network for C and what calls C: `{name}_load`, `{name}_infer`, `{name}_free`"
    return f"`{name}_c.cpp` | a C face: `{name}_open`, `{name}_call`, `{name}_close`"


def can_be_tested(emitted: Emitted) -> bool:
    """Whether a self-test can be written: all inputs and outputs are tensors of numbers."""
    return not any(
        port.form == "object" or is_text(port.value) or not isinstance(port.value.type, TensorType)
        for port in (*emitted.inputs, *emitted.outputs)
    )


def archive(contents: Mapping[str, bytes], name: str) -> bytes:
    """A zip of a project, in a folder of its name; equal contents give equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for key in sorted(contents):
            file.writestr(zipfile.ZipInfo(f"{name}/{key}", (2020, 1, 1, 0, 0, 0)), contents[key], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
