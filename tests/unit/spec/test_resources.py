from __future__ import annotations

import pytest

from tiffin.errors import SpecError
from tiffin.spec.resources import Resources, read_resources, read_size, read_workers

GIB = 2**30


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, Resources()),
        ({"gpu": 1}, Resources(gpus=1)),
        ({"gpu": "2"}, Resources(gpus=2)),
        ({"gpu": 2.0}, Resources(gpus=2)),
        ({"gpu": 0}, Resources(gpus=0)),
        ({"gpu": None}, Resources()),
        ({"gpu": 0.5}, Resources(gpus=1, share=0.5)),
        ({"gpu_memory": "8GiB"}, Resources(gpus=1, gpu_memory=8 * GIB)),
        ({"gpu": 2, "gpu_memory": 10**9}, Resources(gpus=2, gpu_memory=10**9)),
        ({"gpu_type": "nvidia-l4"}, Resources(gpus=1, gpu_type="nvidia-l4")),
        ({"exclusive": True}, Resources(gpus=1, exclusive=True)),
        ({"gpu": 1, "fallback": "cpu"}, Resources(gpus=1, fallback=True)),
        ({"cpu": 2, "memory": "1Gi"}, Resources(cpu=2.0, memory=GIB)),
    ],
)
def test_forms(given, found):
    assert read_resources(given, "service S") == found


@pytest.mark.parametrize(
    ("given", "field", "choice"),
    [
        ({"gpu": 1.5}, "gpu=1.5", "whole number"),
        ({"gpu": True}, "gpu=True", "whole number"),
        ({"gpu": -1}, "gpu=-1", "whole number"),
        ({"gpu": float("nan")}, "gpu=nan", "whole number"),
        ({"gpu": float("inf")}, "gpu=inf", "whole number"),
        ({"gpu": "two"}, "gpu='two'", "whole number"),
        ({"gpu": [0]}, "gpu=[0]", "whole number"),
        ({"gpu_memory": "8 apples"}, "gpu_memory='8 apples'", "8GiB"),
        ({"gpu_memory": 0}, "gpu_memory=0", "8GiB"),
        ({"gpu_memory": -5}, "gpu_memory=-5", "8GiB"),
        ({"gpu_memory": True}, "gpu_memory=True", "8GiB"),
        ({"memory": "much"}, "memory='much'", "8GiB"),
        ({"gpu_type": ""}, "gpu_type=''", "nvidia-l4"),
        ({"gpu_type": 4}, "gpu_type=4", "nvidia-l4"),
        ({"exclusive": "yes"}, "exclusive='yes'", "True or False"),
        ({"fallback": "gpu"}, "fallback='gpu'", '"cpu"'),
        ({"cpu": 0}, "cpu=0", "cores"),
        ({"gpus": 1}, "unknown key 'gpus'", "did you mean 'gpu'?"),
        ({"gpu": 0.5, "gpu_memory": "8GiB"}, "gpu=0.5 and gpu_memory='8GiB'", "one of them"),
        ({"gpu": 0.5, "exclusive": True}, "gpu=0.5", "exclusive"),
        ({"gpu": 0, "gpu_type": "nvidia-l4"}, "gpu=0", ""),
    ],
)
def test_what_cannot_be_names_field_value_and_choices(given, field, choice):
    with pytest.raises(SpecError) as caught:
        read_resources(given, "service S")
    assert caught.value.message.startswith("service S: resources")
    assert field in caught.value.message
    assert choice in caught.value.hint


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("8GiB", 8 * GIB),
        ("8gib", 8 * GIB),
        ("8Gi", 8 * GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("8GB", 8 * 10**9),
        ("500M", 500 * 10**6),
        ("8192MiB", 8 * GIB),
        ("1024", 1024),
        ("1024B", 1024),
        (7, 7),
        ("0", None),
        ("", None),
        ("GiB", None),
        ("-1GiB", None),
        ("1e9", None),
        (1.5, None),
        (None, None),
    ],
)
def test_sizes(value, size):
    assert read_size(value) == size


def test_lists_of_workers():
    entries = [{"gpus": [0, 1]}, {"gpus": 2}, {"gpus": ["GPU-1a", "MIG-2b", "03"]}, {}]
    assert read_workers(entries, "service S") == [("0", "1"), 2, ("GPU-1a", "MIG-2b", "3"), 0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"gpus": [0, 0]}, "workers[1] gpus=[0, 0] names 0 twice"),
        ({"gpus": [0, "0"]}, "names '0' twice"),
        ({"gpus": ["GPU-1", "GPU-1"]}, "names 'GPU-1' twice"),
        ({"gpus": ["a100"]}, "'a100' names no GPU"),
        ({"gpus": [-1]}, "-1 names no GPU"),
        ({"gpus": [True]}, "True names no GPU"),
        ({"gpus": []}, "gpus=[] names no GPU"),
        ({"gpus": 1.5}, "gpus=1.5"),
        ({"gpus": -1}, "gpus=-1"),
        ({"gpu": 1}, "unknown key 'gpu'"),
        (7, "workers="),
    ],
)
def test_a_worker_that_cannot_be_names_its_place(entry, words):
    with pytest.raises(SpecError) as caught:
        read_workers([{"gpus": 1}, entry], "service S")
    assert words in caught.value.message
    assert caught.value.hint
