"""Markers for annotations: what a numpy array looks like, which media type a result has.

Owns three value classes; never looks at a value and never imports numpy.
"""

from __future__ import annotations

from tiffin.errors import SpecError


class Shape:
    """Sizes of all dimensions of an array, as the method sees it.

    ``Annotated[np.ndarray, Shape(None, 64)]`` takes any number of rows of 64. A batchable method's batch dimension must be free.

    Args:
        dims: one size per dimension; None, ``"*"`` or a name such as ``"rows"`` leaves it free. One tuple or list of them will do.

    Raises:
        SpecError: a size that is neither a number above or equal to 0, nor None, nor a name.
    """

    __slots__ = ("dims",)

    def __init__(self, *dims: int | str | tuple[int | str | None, ...] | list[int | str | None] | None) -> None:
        first = dims[0] if len(dims) == 1 else None
        sizes = tuple(first) if isinstance(first, tuple | list) else dims
        checked: list[int | None] = []
        for size in sizes:
            if size is None or isinstance(size, str):
                checked.append(None)
            elif isinstance(size, int) and not isinstance(size, bool) and size >= 0:
                checked.append(size)
            else:
                raise SpecError(
                    f"Shape{sizes!r}: {size!r} is not a size",
                    hint="use a number from 0 on, None, or a name such as 'rows'",
                )
        self.dims = tuple(checked)

    def __repr__(self) -> str:
        return f"Shape{self.dims!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.dims == other.dims

    def __hash__(self) -> int:
        return hash(self.dims)


class DType:
    """Element type of an array, by numpy's name of it.

    Args:
        name: for example ``"float32"``; numpy's own types (``np.float32``) will do.
    """

    __slots__ = ("name",)

    def __init__(self, name: object) -> None:
        self.name = name if isinstance(name, str) else str(getattr(name, "__name__", name))

    def __repr__(self) -> str:
        return f"DType({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DType) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class ContentType:
    """Media type of a file: ``Annotated[bytes, ContentType("audio/wav")]``.

    Of a result it is sent with every answer (text may have one, too). Of a parameter it says which files are taken, by what their
    bytes are, and may be a pattern: ``ContentType("image/*")``.

    Args:
        name: for example ``"audio/wav"``.

    Raises:
        SpecError: the name is not of the form ``type/subtype``.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if name.count("/") != 1 or not name.isascii() or not name.isprintable() or name.strip() != name:
            raise SpecError(
                f"ContentType({name!r}): not a media type", hint="write it as type/subtype, for example audio/wav"
            )
        self.name = name

    def __repr__(self) -> str:
        return f"ContentType({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContentType) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)
