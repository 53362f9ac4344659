"""The example input of a model: written beside it, read back, and what it says of how the model is called.

Owns the file's form: arrays as `.npz` without objects, text as JSON, tables as JSON columns. numpy is imported where there is one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tiffin.errors import ModelError
from tiffin.store.draft import Draft
from tiffin.store.manifest import Signature, Value
from tiffin.store.store import Stored

ARRAYS, TEXTS, TABLE = "example.npz", "example.json", "example.table.json"


def as_inputs(example: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return an example as inputs by name.

    Args:
        example: one input, a tuple of inputs, or a dict by name. names: of the inputs, in order, where the example has none.
    """
    if isinstance(example, Mapping):
        found = dict(cast("Mapping[str, Any]", example))
        # In the order of the signature: what runs a model may give its inputs by place.
        order = [*(one for one in names if one in found), *(one for one in found if one not in names)]
        return {name: found[name] for name in order}
    given: Any = example
    values: tuple[Any, ...] = given if isinstance(example, tuple) else (example,)
    known = [*names, *(f"input{index}" for index in range(len(names), len(values)))]
    return dict(zip(known, values, strict=False))


def alone(example: Any) -> Any:
    """Return the one input of an example that names it, for models that have only one."""
    given: Any = example
    if isinstance(example, Mapping) and not _is_table(given) and len(given) == 1:
        return next(iter(given.values()))
    return given


def write_example(draft: Draft, example: Any) -> str:
    """Write an example into a draft; return its path, "" for none.

    Raises:
        ModelError: it is neither arrays (tensors), nor a table, nor text.
    """
    if example is None:
        return ""
    if _is_table(example):
        content: dict[str, list[Any]] = {str(name): column.tolist() for name, column in example.items()}
        draft.add(TABLE, json.dumps(content, allow_nan=True).encode())
        return TABLE
    if _is_text(example):
        draft.add(TEXTS, json.dumps([example] if isinstance(example, str) else example).encode())
        return TEXTS
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, value in as_inputs(example).items():
        array = to_numpy(value)
        if array.dtype.hasobject:
            raise ModelError(f"the example {name!r} of type {type(value).__qualname__} is no array of numbers or text")
        arrays[name] = array
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    draft.add(ARRAYS, buffer.getvalue())
    return ARRAYS


def read_example(stored: Stored) -> Any:
    """Return the recorded example: an array, a dict of arrays, a list of texts, a dict of columns; None for none."""
    name = stored.manifest.example
    if not name:
        return None
    path = stored.folder / name
    if name in (TEXTS, TABLE):
        return json.loads(path.read_bytes())
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return arrays["input0"] if list(arrays) == ["input0"] else arrays


def to_numpy(value: Any) -> Any:
    """Return an array, a tensor of any library, or nested lists as a numpy array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    if hasattr(value, "toarray"):  # sparse
        value = value.toarray()
    return np.asarray(value)


def signature_of(example: Any, output: Any, *, names: Sequence[str] = (), call: str = "") -> Signature:
    """Return how a model is called, from an example and what came of it. Rows lie along axis 0.

    Args:
        example: as for `save`. output: array, tuple or dict of arrays, list; None where it was not run.
        names: of the inputs in order. call: the model's method.
    """
    if _is_table(example):
        columns = {str(name): str(column.dtype) for name, column in example.items()}
        inputs = [Value(name=(*names, "rows")[0], kind="table", columns=columns)]
    elif _is_text(example):
        inputs = [Value(name=(*names, "texts")[0], kind="text")]
    else:
        inputs = [_value(name, value) for name, value in as_inputs(example, names).items()]
    outputs: list[Value] = []
    if output is not None:
        if not isinstance(output, Mapping | tuple):
            output = {"output": output}
        outputs = [_value(str(name), value) for name, value in as_inputs(output).items() if _numeric(value)]
    return Signature(inputs=inputs, outputs=outputs, batch_dim=0 if _rows_kept(example, output) else None, call=call)


def _rows_kept(example: Any, output: Any) -> bool:
    """Say whether there are as many rows in every output as in the example, so that rows may be joined and told apart again."""
    if output is None:
        return True
    rows = (
        len(example)
        if _is_table(example) or _is_text(example)
        else _axis(next(iter(as_inputs(example).values()), None))
    )
    given: Any = output
    parts: list[Any] = (
        list(given.values()) if isinstance(output, Mapping) else list(given) if isinstance(output, tuple) else [given]
    )
    return rows is not None and all(_axis(part) == rows for part in parts)


def _axis(value: Any) -> int | None:
    """Return the size of axis 0, None where there is no axis."""
    shape: Any = getattr(value, "shape", None)
    if shape is None:
        given: Any = value
        return len(given) if isinstance(value, list) else None
    return int(shape[0]) if len(shape) else None


def _value(name: str, value: Any) -> Value:
    array = to_numpy(value)
    shape: list[int | None] = [int(size) for size in array.shape]
    if shape:
        shape[0] = None
    dtype = "str" if array.dtype.kind == "U" else "" if array.dtype.hasobject else array.dtype.name
    return Value(name=name, dtype=dtype, shape=shape)


def _numeric(value: Any) -> bool:
    try:
        return not to_numpy(value).dtype.hasobject and to_numpy(value).dtype.kind != "U"
    except (ValueError, TypeError):
        return False


def _is_text(value: Any) -> bool:
    given: Any = value
    rows: list[Any] = [value] if isinstance(value, str) else given if isinstance(value, list) else []
    return bool(rows) and all(isinstance(row, str) for row in rows)


def _is_table(value: Any) -> bool:
    return type(value).__name__ == "DataFrame" and hasattr(value, "items") and hasattr(value, "columns")
