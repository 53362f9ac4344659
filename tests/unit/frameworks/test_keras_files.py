"""Keras and TensorFlow models in the store: text, several inputs, own layers, layers that hold code, functions with signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiffin
from tiffin.errors import ModelError, TrustError
from tiffin.store.rooms import room

tf: Any = pytest.importorskip("tensorflow", reason="TensorFlow is not installed (make test installs it)")
keras: Any = pytest.importorskip("keras", reason="Keras is not installed (make test installs it)")
pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))


def run(model: Any) -> Any:
    return room(model.info.framework).runner(model._stored, model.load(device="cpu"))


def test_a_model_over_text() -> None:
    words = keras.layers.TextVectorization(output_sequence_length=4)
    words.adapt(["a b", "c d"])
    network = keras.Sequential(
        [keras.layers.Input((1,), dtype="string"), words, keras.layers.Embedding(10, 4), keras.layers.Flatten()]
    )
    model = tiffin.keras.save("m", network)
    assert model.info.signatures["predict"].inputs[0].dtype == "str"
    assert not model.info.code
    texts = np.array([["a b"], ["c"]])
    np.testing.assert_allclose(run(model)(inputs=texts), network(tf.constant([["a b"], ["c"]])))


def test_several_inputs_keep_their_names() -> None:
    age, income = keras.layers.Input((2,), name="age"), keras.layers.Input((3,), name="income")
    network = keras.Model([age, income], keras.layers.Dense(1)(keras.layers.Concatenate()([age, income])))
    model = tiffin.keras.save("m", network)
    assert [value.name for value in model.info.signatures["predict"].inputs] == ["age", "income"]
    given = {"age": np.ones((2, 2), np.float32), "income": np.zeros((2, 3), np.float32)}
    np.testing.assert_allclose(run(model)(**given), network([given["age"], given["income"]]))


def test_a_layer_of_ones_own_is_given_or_registered(tmp_path: Path) -> None:
    class Double(keras.layers.Layer):
        def call(self, rows: Any) -> Any:
            return rows * 2

    model = tiffin.keras.save("m", keras.Sequential([keras.layers.Input((2,)), Double()]))
    archive = tiffin.models.export(model.ref, tmp_path)
    tiffin.models.delete(model.ref)
    model = tiffin.models.import_(archive)
    with pytest.raises(ModelError) as caught:
        model.load(device="cpu")
    assert "custom_objects" in caught.value.hint
    loaded = model.load(device="cpu", custom_objects={"Double": Double})
    assert float(loaded(np.ones((1, 2), np.float32))[0, 0]) == 2


def test_a_lambda_layer_is_code() -> None:
    network = keras.Sequential([keras.layers.Input((2,)), keras.layers.Lambda(lambda rows: rows * 3)])
    with pytest.raises(TrustError, match="Lambda"):
        tiffin.keras.save("m", network)
    model = tiffin.keras.save("m", network, trusted=True)
    assert model.info.code
    assert float(model.load(device="cpu")(np.ones((1, 2), np.float32))[0, 0]) == 3


def test_a_module_with_functions_of_its_own() -> None:
    class Twice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def predict(self, x: Any) -> Any:
            return {"y": x * 2}

    module = Twice()
    model = tiffin.tensorflow.save("m", module, signatures={"serving_default": module.predict})
    assert model.info.code  # for others: a SavedModel is a program
    assert model.info.signatures["predict"].outputs[0].name == "y"
    assert run(model)(x=np.ones((1, 2), np.float32)).numpy().tolist() == [[2.0, 2.0]]
