"""Train a recurrent network on short reviews that are made here, and save it: `python train_sentiment.py`."""

from __future__ import annotations

import random

import numpy as np

import tiffin

tiffin.tensorflow.setup()  # before anything else starts TensorFlow

import keras  # noqa: E402

GOOD = ["great", "lovely", "brilliant", "moving", "funny", "superb"]
BAD = ["dull", "awful", "boring", "clumsy", "sloppy", "painful"]
THINGS = ["film", "plot", "acting", "cast", "music", "ending", "dialogue", "picture"]
LENGTH = 12


def corpus(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Return made-up reviews and 1 for good ones; "not" turns a word round, which a bag of words cannot know."""
    chance = random.Random(seed)
    texts: list[str] = []
    labels: list[int] = []
    for _ in range(count):
        good, turned = chance.random() < 0.5, chance.random() < 0.4
        word = chance.choice(BAD if good == turned else GOOD)
        texts.append(f"the {chance.choice(THINGS)} was {'not ' if turned else ''}{word}")
        labels.append(int(good))
    return texts, labels


def as_tokens(texts: list[str], vocabulary: dict[str, int]) -> np.ndarray:
    """Return int32 [rows, 12]: a number for each word, zeros before them."""
    rows = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(rows, texts, strict=True):
        tokens = [vocabulary.get(word, 1) for word in text.lower().split()][-LENGTH:]
        row[LENGTH - len(tokens) :] = tokens
    return rows


def main() -> None:
    keras.utils.set_random_seed(0)
    texts, labels = corpus(1500, 1)
    vocabulary = {
        word: index + 2 for index, word in enumerate(sorted({word for text in texts for word in text.split()}))
    }
    network = keras.Sequential(
        [
            keras.layers.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(len(vocabulary) + 2, 16),
            keras.layers.GRU(16),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    network.fit(as_tokens(texts, vocabulary), np.array(labels), epochs=12, batch_size=64, verbose=0)
    held_back, right = corpus(300, 2)
    accuracy = float(((network(as_tokens(held_back, vocabulary)).numpy()[:, 0] > 0.5) == np.array(right)).mean())
    model = tiffin.keras.save("sentiment", network, objects={"vocabulary": vocabulary})
    print(f"saved {model.ref}, accuracy {accuracy:.1%} on {len(held_back)} held-back reviews")


if __name__ == "__main__":
    main()
