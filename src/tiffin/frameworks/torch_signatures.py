"""How a torch.export program is called, read from its graph. Owns nothing else."""
# pyright: basic

from __future__ import annotations

from typing import Any

from tiffin.store.manifest import Signature, Value, free_rows


def exported_signature(program: Any) -> Signature:
    """Return how an exported program is called, read from its graph."""
    inputs: list[Value] = []
    outputs: list[Value] = []
    user = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in user:
            inputs.append(_value(node.name, node.meta.get("val")))
        elif node.op == "output":
            outputs = [
                _value("output" if index == 0 else f"output{index}", getattr(part, "meta", {}).get("val"))
                for index, part in enumerate(node.args[0])
            ]
    batch_dim = free_rows([*inputs, *outputs]) if inputs else None
    return Signature(inputs=inputs, outputs=outputs, batch_dim=batch_dim, call="forward")


def _value(name: str, fake: Any) -> Value:
    if fake is None or not hasattr(fake, "shape"):
        return Value(name=name)
    shape = [size if isinstance(size, int) else None for size in fake.shape]
    return Value(name=name, dtype=str(fake.dtype).removeprefix("torch."), shape=shape)
