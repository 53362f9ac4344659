"""PyTorch models in the store: safetensors with a class by import path, TorchScript, torch.export, whole modules with trust.

Owns how each is written and read; never unpickles (that is `trusted`), and never lets PyTorch fall back from a safe load to an
unsafe one.
"""
# pyright: basic

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks import torch_programs, trusted
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, numbers, only_file, refuse_code, take_options
from tiffin.frameworks.torch_modules import (
    check_header,
    evaluating,
    imported,
    not_made_again,
    parameters,
    plain,
    take_precision,
    tensors,
    weights_only,
)
from tiffin.frameworks.torch_signatures import exported_signature
from tiffin.store.examples import as_inputs, signature_of
from tiffin.store.manifest import Signature, Value
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

WEIGHTS, SCRIPT, EXPORTED, CHECKPOINT, MODULE = "safetensors", "torchscript", "export", "checkpoint", "module"
_FILES = {
    WEIGHTS: "model.safetensors",
    SCRIPT: "model.ts",
    EXPORTED: "model.pt2",
    CHECKPOINT: "model.pt",
    MODULE: "model.pt",
}
FLOOR = (2, 10)  # older versions run code in files that they say are checked (published 2025 and 2026)


class Torch(Framework):
    """`tiffin.torch`: see the module."""

    name = "torch"
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    reading = ("cls", "init")

    def claims(self, value: object) -> bool:
        """Say whether it is a module, a program, or a dict of tensors."""
        if is_a(value, "torch.nn:Module", "torch.export:ExportedProgram", "torch.jit:ScriptModule"):
            return True
        return isinstance(value, dict) and bool(value) and all(is_a(part, "torch:Tensor") for part in value.values())

    # -- writing -----------------------------------------------------------------------------------------------------------

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a model.

        Args:
            options: format: "safetensors" (weights; the class is found by its import path, or given to `load`), "torchscript",
                "export", "module" (pickles the whole module: only with trusted=True); by default what the object is, else
                "safetensors". init: keyword arguments (JSON) with which the class is made again.
        """
        given = take_options(options, ("format", "init"), "tiffin.torch.save")
        value = getattr(value, "_orig_mod", value)  # what torch.compile has wrapped
        format = given.get("format") or self._format(value)
        if format not in _FILES or format == CHECKPOINT:
            raise ModelError(
                f"format {format!r} does not exist", hint=f"choose {WEIGHTS}, {SCRIPT}, {EXPORTED} or {MODULE}"
            )
        path = folder / _FILES[format]
        if format == WEIGHTS:
            return self._write_weights(value, path, example, given.get("init") or {})
        if format == SCRIPT:
            return self._write_script(value, path, example)
        if format == EXPORTED:
            return self._write_exported(value, path, example)
        if not trusted:
            raise TrustError(
                "a whole module can only be saved as a pickle, and loading one runs code that is in it: PyTorch 2.6 and newer "
                "refuse it by default",
                hint="save the weights (format='safetensors') or a program (format='export'); for your own files: trusted=True",
            )
        library("torch").save(value, path)
        return self._written(MODULE, value, example, code=True)

    def _format(self, value: Any) -> str:
        if is_a(value, "torch.jit:ScriptModule"):
            return SCRIPT
        return EXPORTED if is_a(value, "torch.export:ExportedProgram") else WEIGHTS

    def _write_weights(self, value: Any, path: Path, example: Any, init: Mapping[str, Any]) -> Written:
        files = library("safetensors.torch")
        options: dict[str, Any] = {}
        if isinstance(value, dict):
            files.save_file({name: tensor.contiguous() for name, tensor in value.items()}, path)
            return Written(format=WEIGHTS, distributions=self.distributions)
        try:
            files.save_model(value, str(path))
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the weights of {type(value).__qualname__} cannot be written: {error}") from error
        try:
            kept = json.loads(json.dumps(dict(init)))
        except (TypeError, ValueError) as error:
            raise ModelError(f"init={dict(init)!r} is not JSON: {error}", hint="give plain values") from None
        reason = not_made_again(value, kept)
        if reason:
            warnings.warn(f"load(…, cls=…) will need the class: {reason}", stacklevel=5)
        else:
            options = {"class": f"{type(value).__module__}:{type(value).__qualname__}", "init": kept}
        written = self._written(WEIGHTS, value, example)
        return msgspec.structs.replace(written, options=options)

    def _write_script(self, value: Any, path: Path, example: Any) -> Written:
        torch = library("torch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's own, of TorchScript as a whole
            if not is_a(value, "torch.jit:ScriptModule"):
                if example is None:
                    raise ModelError("TorchScript is made of a module by running it", hint="pass example=one input")
                with torch.inference_mode(False), torch.no_grad(), evaluating(value):
                    inputs = tensors(as_inputs(example, parameters(value)), value)
                    value = torch.jit.trace(value, tuple(inputs.values()))
            torch.jit.save(value, str(path))
        return self._written(SCRIPT, value, example, code=True)

    def _write_exported(self, value: Any, path: Path, example: Any) -> Written:
        torch = library("torch")
        if not is_a(value, "torch.export:ExportedProgram"):
            if example is None:
                raise ModelError("a program is exported by running the module", hint="pass example=one input")
            inputs = tensors(as_inputs(example, parameters(value)), value)
            # A row count of 1 would be taken for a constant.
            inputs = {
                name: tensor if tensor.shape[0] > 1 else torch.cat([tensor, tensor]) for name, tensor in inputs.items()
            }
            rows = torch.export.Dim("rows", min=1)
            with evaluating(value):
                value = torch.export.export(
                    value, tuple(inputs.values()), dynamic_shapes=tuple({0: rows} for _ in inputs), strict=False
                )
        torch.export.save(value, str(path))
        return Written(
            format=EXPORTED,
            code=True,
            distributions=self.distributions,
            signatures={"predict": exported_signature(value)},
        )

    def _written(self, format: str, value: Any, example: Any, *, code: bool = False) -> Written:
        signatures: dict[str, Signature] = {}
        if example is not None:
            torch = library("torch")
            names = parameters(value)
            inputs = as_inputs(example, names)
            with torch.inference_mode(), evaluating(value):
                output = value(*tensors(inputs, value).values())
            signatures = {"predict": signature_of(inputs, plain(output), names=names, call="forward")}
        return Written(format=format, code=code, distributions=self.distributions, signatures=signatures)

    # -- reading -----------------------------------------------------------------------------------------------------------

    def detect(self, path: Path) -> Written | None:
        """Know .safetensors, TorchScript, torch.export and checkpoints by their content."""
        if not path.is_file():
            return None
        options = {"file": path.name}
        if path.suffix == ".safetensors":
            check_header(path)
            return Written(format=WEIGHTS, options=options, distributions=self.distributions)
        kind = torch_programs.kind_of(path) if path.suffix in (".pt", ".pth", ".pt2", ".ts", ".bin", ".ckpt") else ""
        if kind:
            reaching = torch_programs.reach(path, kind)
            if kind == CHECKPOINT and reaching:
                kind = MODULE
            return Written(format=kind, code=bool(reaching), options=options, distributions=self.distributions)
        if path.suffix in (".pt", ".pth"):  # older than PyTorch 1.6: a bare pickle
            return Written(format=MODULE, code=True, options=options, distributions=self.distributions)
        return None

    def examine(self, path: Path) -> list[str]:
        """Look into TorchScript, torch.export and checkpoint files."""
        kind = torch_programs.kind_of(path) if path.is_file() else ""
        return torch_programs.reach(path, kind) if kind else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        torch = library("torch")
        format = stored.manifest.format
        path = only_file(stored, (Path(_FILES.get(format, "")).suffix,))
        if format != WEIGHTS and numbers(torch.__version__)[:2] < FLOOR:
            warnings.warn(
                f"PyTorch {torch.__version__} has published holes in loading {path.suffix} files; 2.10 mends them",
                stacklevel=4,
            )
        if format == WEIGHTS:
            return self._read_weights(stored, path, device, options)
        if options:
            raise ModelError(f"{stored.ref}: a {format} is whole: cls and init belong to weights")
        if format in (SCRIPT, EXPORTED, CHECKPOINT) and stored.trust is None:
            refuse_code(stored, torch_programs.reach(path, format))  # recorded as data by whoever wrote the manifest
        if format == SCRIPT:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.load(str(path), map_location=device).eval()
        if format == EXPORTED:
            program = self.program(stored)
            if device != "cpu":
                program = torch.export.passes.move_to_device_pass(program, device)
            return program.module()
        if format == CHECKPOINT:
            return torch.load(path, map_location=device, weights_only=True)
        found = trusted.load_torch(stored, path, device)
        return found.eval() if hasattr(found, "eval") else found

    def program(self, stored: Stored) -> Any:
        """Return a torch.export program of a file that has been looked into."""
        with weights_only():
            return library("torch").export.load(str(only_file(stored, (".pt2",))))

    def _read_weights(self, stored: Stored, path: Path, device: str, options: Mapping[str, Any]) -> Any:
        torch = library("torch")
        files = library("safetensors.torch")
        cls = options.get("cls")
        recorded = stored.manifest.options.get("class")
        if cls is None and recorded is None:
            return files.load_file(path, device=device)
        if cls is None:
            if stored.trust is None:
                raise TrustError(
                    f"{stored.ref} says that its class is {recorded}: importing it runs code, and it is not trusted here",
                    hint="give the class yourself: load(…, cls=Network); or tiffin models trust",
                )
            cls = imported(stored.ref, str(recorded), torch.nn.Module)
        init = options.get("init", stored.manifest.options.get("init", {}))
        try:
            module = cls(**init) if isinstance(cls, type) else cls
        except TypeError as error:
            raise ModelError(
                f"{stored.ref}: {cls.__qualname__} cannot be made: {error}",
                hint="save(…, init={…}) records its arguments",
            ) from error
        take_precision(module, path)
        missing, unexpected = files.load_model(module, path, strict=False)
        if missing or unexpected:
            raise ModelError(
                f"{stored.ref}: the weights do not fit {type(module).__qualname__}: missing {sorted(missing)[:5]}, "
                f"too many {sorted(unexpected)[:5]}",
                hint="the class has changed since it was saved",
            )
        return module.to(torch.device(device)).eval()

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls the program or module with arrays by name."""
        if isinstance(loaded, dict):
            return super().runner(stored, loaded)
        torch = library("torch")
        place = next((tensor.device for tensor in loaded.parameters()), None) or next(
            (tensor.device for tensor in loaded.buffers()), torch.device("cpu")
        )

        known = stored.manifest.signatures.get("predict")
        typed = {value.name for value in known.inputs if value.dtype} if known else set()

        def tensor(name: str, value: Any) -> Any:
            made = torch.as_tensor(value).to(place)
            if name not in typed and made.dtype == torch.float64:
                made = made.to(torch.get_default_dtype())  # what JSON's numbers become where nothing says otherwise
            return made

        # TorchScript's profiling executor may keep what it has seen for a backward pass, which inference tensors refuse.
        mode = torch.no_grad if is_a(loaded, "torch.jit:ScriptModule") else torch.inference_mode

        def run(**inputs: Any) -> Any:
            with mode():
                return plain(loaded(*[tensor(name, value) for name, value in inputs.items()]))

        return run

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Read a program's own: torch.export knows shapes, TorchScript only names."""
        if stored.manifest.format not in (SCRIPT, EXPORTED):
            return {}
        stored.verify()
        loaded = self.read(stored, "cpu", {})
        if stored.manifest.format == EXPORTED:
            return {"predict": exported_signature(self.program(stored))}
        inputs = [Value(name=name) for name in parameters(loaded)]
        return {"predict": Signature(inputs=inputs, call="forward")}

    def _breaks(self, format: str, name: str, then: tuple[int, ...], now: tuple[int, ...]) -> str:
        if name == "torch" and format == EXPORTED and then > now and then[:2] != now[:2]:
            return "an exported program is not read by an older PyTorch"
        return ""


ROOM = Torch()
