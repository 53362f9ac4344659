"""`tiffin.onnx`: sessions on this worker's device, and ONNX models in the store. Owns nothing but the names."""
# pyright: basic

from __future__ import annotations

from tiffin.frameworks.onnx_files import ROOM
from tiffin.frameworks.onnx_sessions import CPU, CUDA, TENSORRT, check, providers, session

__all__ = ["CPU", "CUDA", "TENSORRT", "check", "load", "providers", "save", "session"]
save, load = ROOM.save, ROOM.load
