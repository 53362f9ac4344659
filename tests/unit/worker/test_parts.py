"""A call with more rows than may run at once: its arguments cut, its results joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import ANY
from tiffin.worker.parts import join_parts, row_parts


def spec(dim: int = 0) -> MethodSpec:
    params = (Param(name="a", type=ANY, batched=True), Param(name="b", type=ANY, batched=True))
    return MethodSpec(name="m", route="/m", params=params, returns=ANY, batchable=True, batch_dim=dim)


def test_all_batched_arguments_are_cut_at_the_same_rows() -> None:
    parts = list(row_parts(spec(), {"a": list(range(5)), "b": np.arange(5), "other": "x"}, 5, 2))
    assert [(part["a"], part["b"].tolist(), part["other"], size) for part, size in parts] == [
        ([0, 1], [0, 1], "x", 2),
        ([2, 3], [2, 3], "x", 2),
        ([4], [4], "x", 1),
    ]


def test_rows_along_another_dimension() -> None:
    array = np.arange(10).reshape(2, 5)
    parts = list(row_parts(spec(1), {"a": array, "b": array}, 5, 3))
    assert [(part["a"].shape, size) for part, size in parts] == [((2, 3), 3), ((2, 2), 2)]
    np.testing.assert_array_equal(join_parts([part["a"] for part, _ in parts], 1), array)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([[1, 2], [3]], [1, 2, 3]),
        ([{"x": [1], "y": ["a"]}, {"x": [2], "y": ["b"]}], {"x": [1, 2], "y": ["a", "b"]}),
        ([([1], ["a"]), ([2], ["b"])], ([1, 2], ["a", "b"])),
    ],
)
def test_results_are_joined_by_their_kind(parts: list[Any], whole: Any) -> None:
    assert join_parts(parts, 0) == whole


@pytest.mark.torch
def test_tensors_are_joined_as_tensors() -> None:
    import torch

    joined = join_parts([torch.zeros(2, 3), torch.ones(1, 3)], 0)
    assert isinstance(joined, torch.Tensor) and joined.shape == (3, 3)
