"""Train the classifier of headlines on a small corpus that is made here, and save it: `python train_news.py`.

Real headlines are a file away: replace `corpus` by a reader of your own that yields (text, class).
"""

from __future__ import annotations

import random

import torch
from news_network import WORD, NewsNetwork, as_bag

import tiffin

LABELS = ["World", "Sports", "Business", "Sci/Tech"]
SUBJECTS = {
    "World": ["the president", "rebels", "the minister", "un envoys", "voters", "the embassy"],
    "Sports": ["the striker", "the champion", "the home team", "the coach", "the goalkeeper", "the sprinter"],
    "Business": ["shares", "the bank", "oil prices", "the retailer", "investors", "the airline"],
    "Sci/Tech": ["the software", "a new chip", "astronomers", "the browser", "researchers", "the satellite"],
}
EVENTS = {
    "World": ["sign a peace treaty", "protest in the capital", "hold talks on the border", "win the election"],
    "Sports": ["scores twice in the final", "wins the title", "loses the match after injury", "breaks a record"],
    "Business": [
        "fall after weak earnings",
        "raises its profit forecast",
        "announce a merger",
        "drop in early trading",
    ],
    "Sci/Tech": ["processes data faster", "detect a distant planet", "fixes a security flaw", "launches into orbit"],
}


def corpus(count: int, seed: int) -> list[tuple[str, int]]:
    """Return made-up headlines and their classes."""
    chance = random.Random(seed)
    rows: list[tuple[str, int]] = []
    for _ in range(count):
        label = chance.randrange(len(LABELS))
        name = LABELS[label]
        day = chance.choice(["on monday", "after a long week", "this summer", "says report", ""])
        rows.append((f"{chance.choice(SUBJECTS[name])} {chance.choice(EVENTS[name])} {day}".strip(), label))
    return rows


def main() -> None:
    torch.manual_seed(0)
    train, held_back = corpus(2000, 1), corpus(400, 2)
    words = sorted({word for text, _label in train for word in WORD.findall(text)})
    vocabulary = {word: index + 1 for index, word in enumerate(words)}
    device = tiffin.torch.device()
    network = NewsNetwork(words=len(vocabulary) + 1, classes=len(LABELS)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _epoch in range(8):
        for start in range(0, len(train), 64):
            texts, labels = zip(*train[start : start + 64], strict=True)
            loss = torch.nn.functional.cross_entropy(
                network(*as_bag(list(texts), vocabulary, device)), torch.tensor(labels, device=device)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    texts, labels = zip(*held_back, strict=True)
    found = network(*as_bag(list(texts), vocabulary, device)).argmax(1).cpu()
    accuracy = (found == torch.tensor(labels)).float().mean().item()
    model = tiffin.torch.save(
        "news",
        network.cpu(),
        init={"words": len(vocabulary) + 1, "classes": len(LABELS)},
        objects={"vocabulary": vocabulary, "labels": LABELS},
        metadata={"accuracy": round(accuracy, 4)},
    )
    print(f"saved {model.ref}, accuracy {accuracy:.1%} on {len(held_back)} held-back headlines")


if __name__ == "__main__":
    main()
