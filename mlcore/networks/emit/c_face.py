"""The C face of a project: a header for C, and the functions behind it, for networks whose inputs and outputs are numbers.

The header declares::

    NAME_session* NAME_load(const char* weights_path, char* message, int64_t message_size);
    int NAME_infer(NAME_session* session, int64_t n, const float* x, float* y, char* message, int64_t message_size);
    void NAME_free(NAME_session* session);

An output whose shape only the call tells is a view: a struct of a pointer and sizes.
"""

from __future__ import annotations

from mlcore.networks.emit.cpp import Emitted, Port, is_text
from mlcore.networks.ir import Names

_SCALARS = {"float", "double", "bool"}


def has_c_face(emitted: Emitted) -> bool:
    """Whether C can call it: nothing that goes in or out is a text, a sequence or an optional value."""
    return not any(port.form == "object" or is_text(port.value) for port in (*emitted.inputs, *emitted.outputs))


def c_type(cpp: str) -> str:
    """The type of an element in C: what C has not is an integer of the same bits."""
    if cpp in _SCALARS:
        return cpp
    if cpp.startswith("std::"):
        return cpp.removeprefix("std::")
    return "uint16_t" if cpp in ("nn::float16", "nn::bfloat16") else "int8_t" if cpp in ("nn::int4", "nn::int2") else "uint8_t"


def parameters(emitted: Emitted) -> list[str]:
    """Of ``NAME_infer``, between the session and the message."""
    return [
        *(f"int64_t {item.name}" for item in emitted.sizes),
        *(f"const {c_type(port.value.dtype.cpp)}* {port.variable}" for port in emitted.inputs),
        *(_output(port, emitted.name) for port in emitted.outputs),
    ]


def _output(port: Port, name: str) -> str:
    element = c_type(port.value.dtype.cpp)
    return f"{element}* {port.variable}" if port.form == "plain" else f"{view(port, name)}* {port.variable}"


def view(port: Port, name: str) -> str:
    """The struct of an output whose shape only the call tells."""
    return f"{name}_view_of_{port.variable}"


def views(emitted: Emitted) -> str:
    """The structs of such outputs."""
    lines = [
        f"typedef struct {{\n  const {c_type(port.value.dtype.cpp)}* data;\n  int64_t shape[{max(1, port.value.rank)}];\n}} "
        f"{view(port, emitted.name)};\n"
        for port in emitted.outputs
        if port.form != "plain"
    ]
    why = "/* Outputs whose shape only the call tells; they hold until the session's next call. */\n"
    return "".join([why, *lines, "\n"]) if lines else ""


def body(emitted: Emitted) -> str:
    """C++ of ``NAME_infer``: the call, and views as structs."""
    name = emitted.name
    names = Names([*(item.name for item in emitted.sizes), *(port.variable for port in (*emitted.inputs, *emitted.outputs))])
    before, behind = [], []
    arguments = [item.name for item in emitted.sizes]
    arguments += [f"reinterpret_cast<const {_scoped(port, name)}*>({port.variable})" for port in emitted.inputs]
    for port in emitted.outputs:
        if port.form == "plain":
            arguments.append(f"reinterpret_cast<{_scoped(port, name)}*>({port.variable})")
            continue
        local = names.fresh(f"{port.variable}_found")
        before.append(f"    {name}::nn::View<{_scoped(port, name)}, {port.value.rank}> {local};")
        arguments.append(local)
        behind.append(f"    {port.variable}->data = reinterpret_cast<const {c_type(port.value.dtype.cpp)}*>({local}.data);")
        behind += [f"    {port.variable}->shape[{axis}] = {local}.shape[{axis}];" for axis in range(port.value.rank)]
        behind += [f"    {port.variable}->shape[0] = 1;"] if not port.value.rank else []
    return "\n".join([*before, f"    session->network.infer({', '.join(arguments)});", *behind])


def _scoped(port: Port, name: str) -> str:
    return port.value.dtype.cpp.replace("nn::", f"{name}::nn::")
