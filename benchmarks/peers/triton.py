"""Triton through PyTriton: binds one of the models and serves KServe JSON over HTTP, one model worker, with its dynamic batcher."""

import argparse
import logging
import os
import sysconfig

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks import peers  # noqa: F401 - a wrong PYTHONPATH shows here, not inside the model process

logging.getLogger().setLevel(logging.WARNING)


def _noop():
    @batch
    def infer(x):
        return {"y": x * 2}

    tensors = {
        "inputs": [Tensor(name="x", dtype=np.float32, shape=(1,))],
        "outputs": [Tensor(name="y", dtype=np.float32, shape=(1,))],
    }
    return infer, tensors, 64


def _mlp():
    from benchmarks.models import MLP_BATCH, Mlp

    model = Mlp()

    @batch
    def infer(x):
        return {"y": model(x)}

    tensors = {
        "inputs": [Tensor(name="x", dtype=np.float32, shape=(64,))],
        "outputs": [Tensor(name="y", dtype=np.float32, shape=(10,))],
    }
    return infer, tensors, MLP_BATCH


def _bert():
    from benchmarks.models import BERT_BATCH, Bert

    model = Bert()

    @batch
    def infer(text):
        return {"y": model([one.decode() for one in text[:, 0]])}

    tensors = {
        "inputs": [Tensor(name="text", dtype=bytes, shape=(1,))],
        "outputs": [Tensor(name="y", dtype=np.float32, shape=(2,))],
    }
    return infer, tensors, BERT_BATCH


def main():
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("noop", "mlp", "bert"), required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    infer, tensors, rows = {"noop": _noop, "mlp": _mlp, "bert": _bert}[arguments.model]()
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=arguments.port,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    # Triton's Python backend loads libpython by name: it must be the one that runs here, not another of the system.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    with Triton(config=config) as triton:
        triton.bind(
            model_name=arguments.model,
            infer_func=infer,
            config=ModelConfig(max_batch_size=rows, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
            **tensors,
        )
        triton.serve()


if __name__ == "__main__":
    main()
