"""Which body a call gets, by the schema and the values; what is asked for in return."""

from __future__ import annotations

import email
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.client.shop import FORM, IMAGES, ITEM, LOOSE, SHOP, TABLE, method, schema
from tiffin.client.encode import Encoded, best_answer, encode
from tiffin.client.files import chunks
from tiffin.client.multipart import multipart
from tiffin.client.schema import MethodSchema
from tiffin.codecs.arrays import own_hook
from tiffin.errors import Error

FILE = {"type": "string", "format": "binary", "x-tiffin-type": "file"}


def body(encoded: Encoded) -> bytes:
    found = b"".join(bytes(chunk) for piece in encoded.pieces for chunk in chunks(piece))
    assert len(found) == encoded.size
    return found


def of(name: str, **arguments: Any) -> Encoded:
    return encode(SHOP.find(name), arguments, SHOP.definitions)


def one(*args: Any, **more: Any) -> MethodSchema:
    return schema(method("f", *args, **more)).methods[0]


def packed(encoded: Encoded) -> Any:
    assert encoded.content_type == "application/msgpack"
    return msgspec.msgpack.decode(body(encoded), ext_hook=own_hook)


def form(encoded: Encoded) -> list[tuple[str, str | None, str, bytes]]:
    text = f"content-type: {encoded.content_type}\r\n\r\n".encode() + body(encoded)
    found = []
    for part in email.message_from_bytes(text).get_payload():
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        found.append((name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))  # type: ignore[union-attr]
    return found  # type: ignore[return-value]


# -- arrays ----------------------------------------------------------------------------------------------------------------


def test_one_array_goes_as_npy_that_numpy_reads():
    images = np.arange(6, dtype="float32").reshape(3, 2)
    encoded = of("predict", images=images)
    assert encoded.content_type == "application/x-npy"
    assert encoded.accept == "application/x-npy, application/json;q=0.5"
    assert np.array_equal(np.load(io.BytesIO(body(encoded))), images)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "i8", "f2"])
def test_an_array_is_made_what_the_method_takes_as_the_same_numbers_in_json_would_be(dtype, order):
    images = np.array([[1, 2], [3, 4], [5, 6]], dtype, order=order)
    sent = np.load(io.BytesIO(body(of("predict", images=images))))
    assert sent.dtype == np.float32
    assert np.array_equal(sent, images.astype("float32"))


def test_an_array_of_another_shape_is_refused_before_it_is_sent():
    with pytest.raises(Error, match=r"images: expected shape \[\*, 2\], got \[2, 3\]") as caught:
        of("predict", images=np.zeros((2, 3)))
    assert caught.value.code == "INVALID_INPUT"


def test_lists_stay_json():
    encoded = of("predict", images=[[1.5, 2]])
    assert (encoded.content_type, body(encoded)) == ("application/json", b'{"images":[[1.5,2]]}')


def test_several_parameters_with_an_array_go_in_msgpack():
    found = packed(of("both", left=np.arange(3), right=[1, 2, 3], how="add"))
    assert np.array_equal(found["left"], [0, 1, 2])
    assert found["left"].dtype == np.int64
    assert (found["right"], found["how"]) == ([1, 2, 3], "add")


def test_an_array_deep_inside_goes_in_msgpack_and_a_number_of_numpys_does_not_need_it():
    found = packed(encode(one({"x": {}}), {"x": {"deep": [np.ones(2)]}}, {}))
    assert np.array_equal(found["x"]["deep"][0], [1, 1])
    assert body(encode(one({"x": {}}), {"x": [np.float32(1.5), np.int8(3)]}, {})) == b'{"x":[1.5,3]}'


class Tensor:
    """Looks like a tensor on a device."""

    dtype, shape = "torch.float32", (1, 2)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("on the device")

    def detach(self):
        return self

    def cpu(self):
        return np.ones((1, 2), "float32")


def test_a_tensor_on_a_device_is_fetched_from_it():
    class OnCpu(Tensor):
        def cpu(self):
            return OnHost()

    class OnHost(Tensor):
        def __array__(self, dtype=None, copy=None):
            return np.ones((1, 2), "float32")

    assert np.load(io.BytesIO(body(of("predict", images=OnCpu())))).tolist() == [[1, 1]]


def test_objects_cannot_be_sent():
    with pytest.raises(TypeError, match="numbers and booleans only"):
        encode(one({"x": {}}, takes=["application/x-npy"]), {"x": np.array([1j])}, {})


# -- everything else -------------------------------------------------------------------------------------------------------


def test_nan_which_json_has_not_goes_in_msgpack_and_null_stays_json():
    f = one({"x": {}})
    assert np.isnan(packed(encode(f, {"x": [1.0, float("nan")]}, {}))["x"][1])
    assert packed(encode(f, {"x": {"a": float("inf")}}, {}))["x"]["a"] == float("inf")
    assert body(encode(f, {"x": [None, "null"]}, {})) == b'{"x":[null,"null"]}'


def test_dataclasses_and_big_integers_are_json():
    @dataclass
    class Item:
        name: str
        price: float

    assert (
        body(of("reprice", item=Item("pen", 1.5), factor=2**70))
        == b'{"item":{"name":"pen","price":1.5},"factor":%d}' % 2**70
    )


def test_a_nan_in_a_dataclass_is_not_lost():
    @dataclass
    class Item:
        name: str
        price: float

    assert np.isnan(packed(of("reprice", item=Item("pen", float("nan")), factor=1))["item"]["price"])


def test_a_big_integer_beside_an_array_is_said_not_cut():
    with pytest.raises(TypeError, match="more than 64 bits"):
        encode(one({"x": {}}), {"x": [np.ones(1), 2**70]}, {})


def test_bytes_go_as_they_are_not_as_base64():
    assert packed(encode(one({"x": {"type": "string", "contentEncoding": "base64"}}), {"x": b"\x00\xff"}, {})) == {
        "x": b"\x00\xff"
    }


def test_a_method_without_parameters_gets_an_empty_object():
    encoded = encode(one(), {}, {})
    assert (encoded.content_type, body(encoded)) == ("application/json", b"{}")


def test_text_and_bytes_as_the_whole_body():
    assert body(of("shout", text="hé")) == "hé".encode()
    raw = one({"data": FILE}, whole_body=True, takes=["application/octet-stream", "application/json"])
    assert body(encode(raw, {"data": b"ab"}, {})) == b"ab"
    assert encode(raw, {"data": b"ab"}, {}).content_type == "application/octet-stream"


# -- files -----------------------------------------------------------------------------------------------------------------


def test_files_and_fields_go_as_a_form(tmp_path):
    path = tmp_path / 'a "b".png'
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300_000))
    parts = form(of("classify", image=path, label="null", top=3))
    assert [part[:3] for part in parts] == [
        ("image", "a %22b%22.png", "image/png"),
        ("label", None, "text/plain"),
        ("top", None, "application/json"),
    ]
    assert parts[0][3] == path.read_bytes()
    assert (parts[1][3], parts[2][3]) == (b"null", b"3")


def test_an_open_file_is_read_from_where_it_stands_each_time():
    file = io.BytesIO(b"skipped" + b"\xff\xd8\xffjpeg")
    file.seek(7)
    encoded = of("classify", image=file)
    for _attempt in range(2):
        assert form(encoded)[0] == ("image", "image.bin", "image/jpeg", b"\xff\xd8\xffjpeg")


def test_a_pipe_is_kept_for_a_second_attempt():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    encoded = of("classify", image=Pipe(b"abc"))
    assert form(encoded)[0][3] == form(encoded)[0][3] == b"abc"


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(10))
    encoded = of("classify", image=path)
    path.write_bytes(bytes(9))
    with pytest.raises(OSError, match="1 bytes are missing"):
        body(encoded)


def test_pictures_go_as_png_and_arrays_become_pictures():
    image = pytest.importorskip("PIL.Image")
    for value in (image.new("RGB", (2, 1), "red"), np.array([[[255, 0, 0]] * 2], "uint8")):
        name, filename, media, content = form(of("classify", image=value))[0]
        assert (name, filename, media) == ("image", "image.png", "image/png")
        assert image.open(io.BytesIO(content)).getpixel((1, 0)) == (255, 0, 0)


def test_several_files_of_one_parameter_and_none_of_an_optional():
    many = one({"pages": {"type": "array", "items": FILE}, "more": {"anyOf": [FILE, {"type": "null"}]}}, takes=FORM)
    parts = form(encode(many, {"pages": [b"a", b"b"], "more": None}, {}))
    assert [(part[0], part[2], part[3]) for part in parts] == [
        ("pages", "application/octet-stream", b"a"),
        ("pages", "application/octet-stream", b"b"),
        ("more", "application/json", b"null"),
    ]
    assert form(encode(many, {"pages": [], "more": b"x"}, {}))[0][2:] == ("application/json", b"[]")


def test_texts_that_may_be_absent_are_texts_and_what_a_form_cannot_say_goes_in_msgpack():
    f = one(
        {"image": FILE, "how": {"enum": ["add", "sub"]}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        takes=FORM,
    )
    parts = form(encode(f, {"image": b"a", "how": "add", "note": "null"}, {}))
    assert [part[3] for part in parts] == [b"a", b"add", b"null"]
    assert packed(encode(f, {"image": b"a", "how": "add", "note": None}, {})) == {
        "image": b"a",
        "how": "add",
        "note": None,
    }


@pytest.mark.parametrize(("name", "media"), [("a.png", "image/png"), ("a.json", "application/octet-stream")])
def test_a_file_as_the_whole_body_never_claims_to_be_json(tmp_path, name, media):
    (tmp_path / name).write_bytes(b"{}")
    raw = one({"data": FILE}, whole_body=True, takes=["application/octet-stream", *FORM])
    assert encode(raw, {"data": tmp_path / name}, {}).content_type == media


def test_an_address_goes_as_text_and_a_path_as_text_is_refused_with_what_to_write():
    assert form(of("classify", image="https://host/a.png"))[0][1:] == (None, "text/plain", b"https://host/a.png")
    with pytest.raises(TypeError, match=r"pathlib\.Path\('a\.png'\)"):
        of("classify", image="a.png")


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    with path.open() as file, pytest.raises(TypeError, match="mode 'rb'"):
        of("classify", image=file)


def test_a_missing_file_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        of("classify", image=Path("missing.png"))


def test_names_cannot_break_out_of_a_forms_head():
    _media, pieces = multipart([('a"\r\nx: y', "text")], boundary="B")
    assert pieces[0] == b'--B\r\ncontent-disposition: form-data; name="a%22%0D%0Ax: y"\r\n\r\n'


# -- tables ----------------------------------------------------------------------------------------------------------------

ROWS = {"type": "array", "items": {"type": "object"}, "x-tiffin-type": "table"}


def test_a_dataframe_goes_as_rows_with_null_for_what_is_missing():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.1, None], "c": ["x", None], "t": pd.to_datetime(["2026-01-01", None])})
    encoded = encode(one({"frame": ROWS}), {"frame": frame}, {})
    assert msgspec.json.decode(body(encoded))["frame"] == [
        {"a": 1, "b": 0.1, "c": "x", "t": "2026-01-01T00:00:00"},
        {"a": 2, "b": None, "c": None, "t": None},
    ]


def test_a_dataframe_goes_as_arrow_where_the_method_takes_it():
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.1, None]})
    encoded = encode(one({"frame": ROWS}, takes=TABLE), {"frame": frame}, {})
    assert encoded.content_type == TABLE[1]
    assert pa.ipc.open_stream(body(encoded)).read_all().to_pandas().equals(frame)


def test_a_dataframe_for_an_array_is_its_values():
    pd = pytest.importorskip("pandas")
    assert np.load(io.BytesIO(body(of("predict", images=pd.DataFrame({"a": [1.0], "b": [2.0]}))))).tolist() == [[1, 2]]


# -- what is asked for -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "accept"),
    [
        (
            {"returns": IMAGES, "gives": ["application/json", "application/x-npy"]},
            "application/x-npy, application/json;q=0.5",
        ),
        ({"returns": {"type": "object", "additionalProperties": LOOSE}}, "application/msgpack, application/json;q=0.5"),
        ({"returns": {"type": "string", "contentEncoding": "base64"}}, "application/msgpack, application/json;q=0.5"),
        ({"returns": {}}, "application/msgpack, application/json;q=0.5"),
        ({"returns": {"$ref": "#/definitions/Item"}}, "application/json"),
        ({"returns": {"type": "string"}, "gives": ["text/plain", "application/json"]}, "text/plain"),
        ({"returns": {"type": "string"}, "gives": ["image/png"]}, "*/*"),
        (
            {"returns": {"type": "array", "items": {"type": "number"}, "x-tiffin-type": "table"}, "gives": TABLE},
            "application/json",
        ),
        ({"returns": FILE, "gives": ["application/octet-stream", "application/json"]}, "*/*"),
        (
            {"returns": {"type": "array", "items": FILE}, "gives": ["multipart/form-data", "application/json"]},
            "application/msgpack, application/json;q=0.5",
        ),
        (
            {"returns": {"type": "string"}, "streams": True, "gives": ["text/event-stream", "application/x-ndjson"]},
            "text/event-stream",
        ),
        (
            {"returns": {}, "streams": True, "gives": ["text/event-stream", "application/x-ndjson"]},
            "application/x-ndjson",
        ),
        (
            {
                "returns": {
                    "type": "object",
                    "properties": {"at": {"type": "string", "format": "date-time"}, "v": LOOSE},
                }
            },
            "application/json",
        ),
    ],
)
def test_the_answer_that_is_asked_for_loses_nothing(facts, accept):
    assert best_answer(one(**facts), {"Item": ITEM}) == accept


def test_who_names_a_media_type_gets_that_one_asked_for():
    assert encode(SHOP.find("predict"), {"images": [[1, 2]]}, {}, "application/json").accept == "application/json"
