"""TorchScript, torch.export and checkpoint files, looked at before PyTorch is given them.

Owns what is said of such a file: it is read as a zip and as text, and never loaded. TorchScript and torch.export are programs: the
one has operators that read and write any file, the other becomes Python source, with names and sizes from the file, and falls back
to unpickling. They always need trust; what is listed besides is for people. A checkpoint of tensors alone is data.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tiffin.store.pickles import read_pickle
from tiffin.store.zips import checked_zip, is_zip, read_member

_LIMIT = 67_108_864
_PROGRAM = {
    "export": "a torch.export program becomes Python source that is executed when it is loaded",
    "torchscript": "a TorchScript program may read and write files",
}
# An expression over sizes: names of symbols and of these functions, numbers, operators.
_EXPRESSION = re.compile(r"[A-Za-z0-9_ +\-*/%(),<>=!&|~^\n]*\Z")
_WRITTEN_SYMBOL = re.compile(
    r"Symbol\('([A-Za-z_]\w*)'(?:, (?:positive|nonnegative|integer|real|nonzero)=(?:True|False))*\)"
)
_SYMBOL = re.compile(r"[suzf]\d+\Z|_s\d+\Z")
_FUNCTIONS = frozenset(
    [
        "Mod",
        "PythonMod",
        "FloorDiv",
        "CeilDiv",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "TruncToInt",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "Where",
        "Max",
        "Min",
        "Abs",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
        "Add",
        "Mul",
        "Pow",
        "PowByNatural",
        "FloatPow",
        "FloatTrueDiv",
        "IntTrueDiv",
        "IsNonOverlappingAndDenseIndicator",
        "TruncToFloat",
        "LShift",
        "RShift",
        "BitwiseFn_bitwise_and",
        "BitwiseFn_bitwise_or",
        "Identity",
        "Integer",
        "Symbol",
        "ceiling",
        "floor",
        "true",
        "false",
        "True",
        "False",
    ]
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TENSOR_PARTS = frozenset(
    [
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor",
        "torch.Size",
        "torch._utils._rebuild_sparse_tensor",
        "torch.serialization._get_layout",
        "torch.device",
        "torch._utils._rebuild_qtensor",
        "torch._tensor._rebuild_from_type_v2",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch._utils._rebuild_wrapper_subclass",
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "builtins.set",
        "builtins.dict",
        "builtins.list",
        "builtins.tuple",
        "__builtin__.set",
    ]
)
_STORAGE = re.compile(r"torch\.\w+Storage\Z|torch\.(float|int|uint|bfloat|complex|bool|half|long|double)\w*\Z")
# TorchScript that touches files, or that calls what is not PyTorch's own.
_REACHING = re.compile(r"\b(from_file|torch\.save|torch\.load|read_file|write_file|write_png|write_jpeg|save_pickle)\b")
_OPERATOR = re.compile(r"\bops\.(\w+)\.")
_OWN_OPERATORS = frozenset(("aten", "prim", "quantized", "torchvision", "prims", "sparse", "_quantized"))


def kind_of(path: Path) -> str:
    """Return "torchscript", "export" or "checkpoint" for a file that PyTorch writes, "" for another.

    Raises:
        ModelError: a zip that is not plain.
    """
    if not is_zip(path):
        return ""
    with checked_zip(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
        whole = archive.namelist()
    if "serialized_exported_program.json" in whole or "archive_format" in names or "archive_format" in whole:
        return "export"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    return "checkpoint" if "data.pkl" in names else ""


def reach(path: Path, kind: str) -> list[str]:
    """Return what in a file could reach beyond tensors, as sentences; empty: it is data.

    Args:
        kind: what `kind_of` says.

    Raises:
        ModelError: a zip that is not plain.
    """
    with checked_zip(path) as archive:
        if kind == "export":
            return list(dict.fromkeys([_PROGRAM[kind], *_export(archive)]))
        if kind == "torchscript":
            return list(dict.fromkeys([_PROGRAM[kind], *_torchscript(archive)]))
        return list(dict.fromkeys(_pickled(archive, [n for n in archive.namelist() if n.endswith("/data.pkl")])))


def _pickled(archive: zipfile.ZipFile, names: list[str]) -> Iterator[str]:
    for name in names:
        found = read_pickle(read_member(archive, name), name)
        for one in found.names:
            if one not in _TENSOR_PARTS and not _STORAGE.match(one):
                yield f"{name} imports {one}"
        if found.problem:
            yield f"{name}: {found.problem}"


def _torchscript(archive: zipfile.ZipFile) -> Iterator[str]:
    for name in archive.namelist():
        inner = name.partition("/")[2]
        if inner.startswith("code/") and not name.endswith(".debug_pkl"):
            text = read_member(archive, name, _LIMIT).decode("utf-8", "replace")
            for found in _REACHING.findall(text):
                yield f"{name} calls {found}"
            for namespace in _OPERATOR.findall(text):
                if namespace not in _OWN_OPERATORS:
                    yield f"{name} calls operators of {namespace!r}"


def _export(archive: zipfile.ZipFile) -> Iterator[str]:
    for name in archive.namelist():
        if not name.endswith(".json"):
            if name.endswith((".so", ".cubin", ".cpp", ".o")):
                yield f"{name} is machine code"
            elif name.endswith(".pt") or "/pickled" in name or "custom_obj" in name:
                yield from _tensor_file(archive, name)
            continue
        try:
            document = json.loads(read_member(archive, name, _LIMIT))
        except (ValueError, RecursionError):
            yield f"{name} is not JSON"
            continue
        for key, value in _walk(document):
            if key == "use_pickle" and value:
                yield f"{name} names pickled values"
            elif key == "expr_str" and isinstance(value, str) and not _is_expression(value):
                yield f"{name} has the expression {value[:60]!r}, which would be evaluated"
            elif key in ("treespec", "in_spec", "out_spec") and isinstance(value, str) and "import" in value:
                yield f"{name} has a tree with code in it"


def _tensor_file(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    """Look into a file that `torch.save` wrote into the archive; anything but tensors and plain containers is said."""
    import io

    content = read_member(archive, name, 2**34)
    if not content:
        return
    if not zipfile.is_zipfile(io.BytesIO(content)):
        yield f"{name} is not a file of tensors"
        return
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        yield from (
            f"{name}: {reason}" for reason in _pickled(inner, [n for n in inner.namelist() if n.endswith("data.pkl")])
        )


def _is_expression(text: str) -> bool:
    text = _WRITTEN_SYMBOL.sub(r"\1", text)
    return bool(_EXPRESSION.match(text)) and all(
        word in _FUNCTIONS or _SYMBOL.match(word) for word in _NAME.findall(text)
    )


def _walk(document: Any) -> Iterator[tuple[str, Any]]:
    left: list[Any] = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            for key, value in cast("dict[str, Any]", one).items():
                yield key, value
                left.append(value)
        elif isinstance(one, list):
            left += one
