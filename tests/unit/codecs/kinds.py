"""Classes as users write them: one of every kind that may stand in an annotation."""

import dataclasses
import enum
from typing import Annotated, NamedTuple, TypedDict

import msgspec
import numpy as np
from pydantic import BaseModel, Field, field_validator

from tiffin.service.markers import DType, Shape


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Tree:
    name: str
    kids: "list[Tree]" = dataclasses.field(default_factory=list)


class Options(TypedDict, total=False):
    top: int


class Pair(NamedTuple):
    first: int
    second: str = "s"


class Shot(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    long_name: int


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class User(BaseModel):
    age: int = Field(ge=0)
    tags: list[str] = []

    @field_validator("tags")
    @classmethod
    def no_secrets(cls, tags: list[str]) -> list[str]:
        if "boom" in tags:
            raise KeyError("boom")  # not a validation error: the validator is broken
        return tags


@dataclasses.dataclass
class Frame:
    image: Annotated[np.ndarray, Shape(2, None), DType("float32")]
    label: str = ""
