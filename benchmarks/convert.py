"""A transformer of DistilBERT's size (66 million random weights) converted to ONNX with 8-bit weights: size, speed, difference.

    python -m benchmarks.convert [--out FILE]

Needs torch, transformers, onnx, onnxscript and onnxruntime in the Python that runs it. Both models run in this process, one after the other,
with as many threads as their libraries take.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import msgspec

from benchmarks import measure


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        os.environ["TIFFIN_HOME"] = place
        import torch
        import transformers

        import tiffin
        from tiffin.frameworks.conversion import ROWS, table

        torch.manual_seed(0)
        network = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(num_labels=4)).eval()
        tiffin.transformers.save("distilbert", network)
        results = {}
        for quantize in (None, "int8"):
            made = tiffin.models.convert("distilbert", "onnx", quantize=quantize)
            results[quantize or "float32"] = msgspec.to_builtins(made)
            for line in table(made):
                print("  ".join(line))
            print(
                f"largest difference {made.difference:.3g}, same class in {made.agreement:.1%} of {made.rows} rows of 32 tokens"
            )
        print(
            f"columns: format, size, ms at {ROWS[0]} and {ROWS[1]} rows, times as fast; processor: {', '.join(made.cpu)}"
        )
    if given.out:
        given.out.write_text(json.dumps({"machine": measure.machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
