"""TensorFlow on this worker's device: `tiffin.tensorflow`. Models in the store (`save`, `load`) are `tensorflow_files`' matter.

Owns the settings of memory and devices that must be made before TensorFlow starts; never loads it before a function is called.
"""
# pyright: basic

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tiffin.errors import ConfigError
from tiffin.frameworks.library import library
from tiffin.frameworks.tensorflow_files import ROOM
from tiffin.gpu.device import MEMORY_VARIABLE
from tiffin.gpu.device import device as _device_name

__all__ = ["device", "load", "load_file", "save", "scope", "setup"]
save, load = ROOM.save, ROOM.load


def device() -> str:
    """Return the device of this process as TensorFlow names it: "/GPU:0" or "/CPU:0"."""
    return "/CPU:0" if _device_name() == "cpu" else "/GPU:0"


def scope() -> Any:
    """Return a context in which operations and variables are made on this process's device."""
    tf = library("tensorflow")
    return tf.device(device())


def setup(*, growth: bool = True, soft_placement: bool = True, log_placement: bool = False) -> list[str]:
    """Set TensorFlow up, before anything else uses it: first in `__init__`, or at the top of the module.

    A worker that shares its GPU gets a hard limit, what its placement allows; else memory grows as it is needed (`growth`)
    instead of all of it being taken at once.

    Args:
        growth: without a limit, take memory as it is needed. soft_placement: operations without a GPU kernel run on the CPU.
        log_placement: write where every operation runs, to stderr.

    Returns:
        the GPUs that TensorFlow sees, by name.

    Raises:
        ConfigError: TensorFlow is in use already: it is too late.
    """
    tf = library("tensorflow")
    config = tf.config
    gpus = config.list_physical_devices("GPU")
    limits = [int(size) for size in os.environ.get(MEMORY_VARIABLE, "").split(",") if size]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    try:
        if threads.isdigit():
            config.threading.set_intra_op_parallelism_threads(int(threads))
        for index, gpu in enumerate(gpus):
            if index < len(limits) and limits[index]:
                logical = config.LogicalDeviceConfiguration(memory_limit=limits[index] // 2**20)  # MiB
                config.set_logical_device_configuration(gpu, [logical])
            else:
                config.experimental.set_memory_growth(gpu, growth)
        config.set_soft_device_placement(soft_placement)
        if log_placement:
            tf.debugging.set_log_device_placement(True)  # last: it starts TensorFlow's context
    except RuntimeError as error:
        raise ConfigError(
            f"tiffin.tensorflow.setup() came too late: {error}",
            hint="call it before any tensor, model or device is made: first in __init__, or below the imports of the module",
        ) from error
    return [gpu.name for gpu in gpus]


def load_file(path: str | os.PathLike[str]) -> Any:
    """Load a model onto this process's device, whatever it was trained on.

    Args:
        path: a `.keras` or `.h5` file, or the folder of a SavedModel.

    Raises:
        ConfigError: there is no such file, or it is none of these.
    """
    tf = library("tensorflow")
    place = Path(path)
    with scope():
        if place.suffix in (".keras", ".h5") and place.is_file():
            return tf.keras.models.load_model(place)  # safe_mode: code in the file is not run
        if (place / "saved_model.pb").is_file():
            return tf.saved_model.load(str(place))
    raise ConfigError(f"{path} is no model of TensorFlow's", hint="give a .keras file or the folder of a SavedModel")
