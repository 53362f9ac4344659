"""TensorFlow's MirroredStrategy on all GPUs of the worker; the CPU alone where there is none."""

from typing import Annotated, Any

import numpy as np

import tiffin

Rows = Annotated[np.ndarray, tiffin.Shape("rows", 4), tiffin.DType("float32")]


@tiffin.service(resources={"gpu": 2})
class Mirrored:
    def __init__(self) -> None:
        tiffin.tensorflow.setup()  # before TensorFlow is used: memory grows as it is needed
        import tensorflow as tf

        gpus = [f"/GPU:{index}" for index, _ in enumerate(tf.config.list_physical_devices("GPU"))]
        self.strategy = tf.distribute.MirroredStrategy(gpus or ["/CPU:0"])
        with self.strategy.scope():
            layer = tf.keras.layers.Dense(2, use_bias=False)
            self.model = tf.keras.Sequential([tf.keras.layers.Input((4,)), layer])
            layer.set_weights([np.array([[1.0, -1.0]] * 4, np.float32)])
        self.run = tf.function(self._run, reduce_retracing=True)
        self.tf = tf

    def _run(self, parts: Any) -> Any:
        return self.strategy.run(self.model, args=(parts,))

    @tiffin.api(batchable=True, max_batch_size=256)
    def predict(self, rows: Rows) -> np.ndarray:
        replicas = self.strategy.num_replicas_in_sync
        share = -(-len(rows) // replicas)
        padded = np.zeros((share * replicas, rows.shape[1]), np.float32)
        padded[: len(rows)] = rows
        parts = self.strategy.experimental_distribute_values_from_function(
            lambda context: self.tf.constant(
                padded[context.replica_id_in_sync_group * share : (context.replica_id_in_sync_group + 1) * share]
            )
        )
        results = self.strategy.experimental_local_results(self.run(parts))
        return np.concatenate([one.numpy() for one in results])[: len(rows)]

    @tiffin.api
    def replicas(self) -> int:
        return int(self.strategy.num_replicas_in_sync)
