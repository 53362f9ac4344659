import json

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tiffin.codecs.media import body_media, gives, takes
from tiffin.errors import Code
from tiffin.messages.link import Media
from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import (
    ANY,
    ArrayType,
    BoolType,
    BytesType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NullType,
    OpaqueType,
    RefType,
    StrType,
    StructType,
    TupleType,
    UnionType,
)
from tiffin.web.meanings import MEANINGS
from tiffin.web.openapi import openapi, schema

USER = StructType(
    name="User",
    doc="Who asks.",
    fields=(
        Field(name="name", type=StrType(min_length=1)),
        Field(name="friends", type=ListType(item=RefType(name="User")), required=False),
    ),
)
OPAQUE = OpaqueType(schema={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
ROWS = ArrayType(dtype="float32", shape=(None, 8, 8))

METHODS = (
    MethodSpec(
        name="predict",
        route="/predict",
        doc="Say which digit it is.\n\nMore words.",
        params=(Param(name="images", type=ROWS, batched=True),),
        returns=ListType(item=IntType()),
        batchable=True,
        max_batch_size=32,
        timeout_s=5.0,
    ),
    MethodSpec(
        name="single",
        route="/single",
        params=(
            Param(name="image", type=ROWS, batched=True),
            Param(name="weights", type=ListType(item=FloatType()), batched=True),
            Param(name="mode", type=LiteralType(values=("a", "b")), required=False),
        ),
        returns=ListType(item=USER),
        batchable=True,
        one_row=True,
    ),
    MethodSpec(
        name="everything",
        route="/v1/everything",
        params=(
            Param(name="user", type=USER),
            Param(name="pair", type=TupleType(items=(IntType(ge=3), StrType()))),
            Param(name="table", type=DictType(key=StrType(), value=BoolType())),
            Param(name="maybe", type=UnionType(variants=(NullType(), FloatType(gt=0, lt=1)))),
            Param(name="opaque", type=OPAQUE),
            Param(name="anything", type=ANY),
            Param(name="data", type=BytesType()),
            Param(name="unique", type=ListType(item=IntType(), unique=True, min_length=2)),
        ),
        returns=USER,
        idempotent=False,
    ),
    MethodSpec(
        name="text",
        route="/text",
        whole_body=True,
        params=(Param(name="text", type=StrType()),),
        returns=StrType(),
    ),
    MethodSpec(
        name="raw",
        route="/raw",
        whole_body=True,
        params=(Param(name="data", type=BytesType()),),
        returns=BytesType(),
    ),
    MethodSpec(name="talk", route="/talk", kind="async_generator", params=(), returns=USER),
    MethodSpec(name="image", route="/image", returns=BytesType(), media="image/png"),
    MethodSpec(
        name="large",
        route="/large",
        params=(Param(name="image", type=ArrayType(dtype="float32", shape=(3, 224, 224))),),
        returns=ArrayType(),
    ),
)


def application(*methods, **facts):
    return Application(
        services=(
            ServiceSpec(name="Other", target="service:Other", methods=()),
            ServiceSpec(name="Digits", target="service:Digits", methods=methods or METHODS, doc="Digits.", **facts),
        )
    )


def bodies(method):
    return openapi(application())["paths"][method]["post"]["requestBody"]["content"]


def answers(method):
    return openapi(application())["paths"][method]["post"]["responses"]["200"]["content"]


def valid(value, shown, document):
    # References stay as they are: the document itself is the root they start from.
    jsonschema.Draft202012Validator({**shown, "components": document["components"]}).validate(value)


def test_the_document_is_valid_openapi():
    document = openapi(application(), "/ml", "1.2.3", title="My digits")
    OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()
    assert document["openapi"].startswith("3.1")
    assert document["info"] == {"title": "My digits", "version": "1.2.3", "description": "Digits."}
    assert document["servers"] == [{"url": "/ml"}]


def test_an_empty_service_is_a_valid_document_too():
    document = openapi(Application(services=(ServiceSpec(name="A", target="a:A", methods=()),)))
    OpenAPIV31SpecValidator(document).validate()
    assert [path for path, item in document["paths"].items() if "post" in item] == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_method_is_a_route_with_the_media_types_that_the_edge_takes(method):
    operation = openapi(application())["paths"][method.route]["post"]
    assert operation["operationId"] == method.name
    for media in operation["requestBody"]["content"]:
        assert body_media(media.encode(), method) in takes(method)
    assert len(operation["requestBody"]["content"]) == len(takes(method)) - 1, "all but msgpack"
    shown = set(operation["responses"]["200"]["content"])
    assert shown == (
        {method.media}
        if method.media
        else {Media.NAMES[number].split(";")[0] for number in gives(method) if number not in (-1, Media.MSGPACK)}
    )


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method.name != "large"], ids=lambda method: method.name
)
def test_the_example_satisfies_the_schema(method):
    document = openapi(application())
    found = 0
    for content in document["paths"][method.route]["post"]["requestBody"]["content"].values():
        if "example" in content:
            valid(content["example"], content["schema"], document)
            found += 1
    assert found


def test_an_example_is_left_out_where_it_would_be_huge():
    assert "example" not in bodies("/large")["application/json"]
    assert len(json.dumps(openapi(application()))) < 200_000


def test_named_parameters_are_an_object_with_what_is_required():
    shown = bodies("/single")["application/json"]
    assert list(shown["schema"]["properties"]) == ["image", "weights", "mode"]
    assert shown["schema"]["required"] == ["image", "weights"]
    assert shown["x-tiffin-fields"] is True
    assert shown["x-tiffin-batched"] == ["image", "weights"]


def test_a_method_called_with_one_row_is_described_by_its_row():
    shown = bodies("/single")["application/json"]
    assert shown["example"]["image"] == [[0.5] * 8] * 8
    assert isinstance(shown["example"]["weights"], float)
    assert shown["schema"]["properties"]["image"]["x-tiffin-type"] == "array of float32 [8, 8]"
    rows = bodies("/predict")["application/json"]
    assert rows["example"] == {"images": [[[0.5] * 8] * 8]}
    assert rows["schema"]["properties"]["images"]["x-tiffin-type"] == "array of float32 [*, 8, 8]"
    document = openapi(application())
    valid({"name": "Ada", "friends": [{"name": "Bob"}]}, answers("/single")["application/json"]["schema"], document)


def test_arrays_travel_as_npy_too():
    assert "application/x-npy" in bodies("/predict")
    assert "application/x-npy" not in bodies("/single")
    assert bodies("/predict")["application/x-npy"]["schema"]["x-tiffin-type"] == "array of float32 [*, 8, 8]"


def test_an_array_of_any_shape_has_an_example_of_its_kind():
    for dtype, value in (("", 1), ("int64", 1), ("bool", True)):
        param = Param(name="x", type=ArrayType(dtype=dtype))
        document = openapi(application(MethodSpec(name="m", route="/m", params=(param,), returns=ANY)))
        shown = document["paths"]["/m"]["post"]["requestBody"]["content"]["application/json"]
        assert shown["example"] == {"x": [value]}


def test_whole_bodies_are_what_they_are():
    assert next(iter(bodies("/text"))) == "text/plain"
    assert next(iter(bodies("/raw"))) == "application/octet-stream"
    assert list(answers("/image")) == ["image/png"]


def test_a_stream_names_its_items():
    shown = answers("/talk")["text/event-stream"]
    document = openapi(application())
    valid({"name": "Ada"}, shown["x-tiffin-item"], document)
    with pytest.raises(jsonschema.ValidationError):
        valid({"name": ""}, shown["x-tiffin-item"], document)
    assert document["paths"]["/talk"]["post"]["x-tiffin"]["streams"] is True


def test_every_error_is_described_where_it_can_happen():
    document = openapi(application())
    responses = document["paths"]["/predict"]["post"]["responses"]
    for status in (400, 404, 413, 415, 429, 500, 503, 504):
        name = responses[str(status)]["$ref"].rsplit("/", 1)[-1]
        assert name in document["components"]["responses"]
    shown = document["components"]["schemas"]["tiffin.Error"]
    for code in ("DEADLINE", "app.my_code"):
        valid({"error": {"code": code, "message": "m", "request_id": "r", "retryable": True}}, shown, document)
    with pytest.raises(jsonschema.ValidationError):
        valid({"error": {"code": "MADE_UP", "message": "m", "request_id": "r", "retryable": True}}, shown, document)
    with pytest.raises(jsonschema.ValidationError):
        valid({"error": {"code": "DEADLINE", "message": "m", "retryable": True}}, shown, document)
    for response in document["components"]["responses"].values():
        content = response["content"]["application/json"]
        valid(content["example"], content["schema"], document)
    for name in ("Error429", "Error503"):
        assert "retry-after" in document["components"]["responses"][name]["headers"]


def test_every_code_has_a_meaning_and_a_line_in_the_table():
    assert set(MEANINGS) == set(Code)
    shown = {line["code"]: line for line in openapi(application())["x-tiffin-codes"]}
    assert set(shown) == {code.value for code in Code} - {"CANCELLED"}
    assert shown["DEADLINE"]["status"] == 504
    assert shown["DEADLINE"]["retryable"] is True


def test_the_methods_facts():
    facts = openapi(application(traffic={"timeout_s": 7.0}))["paths"]
    assert facts["/predict"]["post"]["x-tiffin"]["max_batch_size"] == 32
    assert facts["/predict"]["post"]["x-tiffin"]["timeout_s"] == 5.0
    assert facts["/text"]["post"]["x-tiffin"]["timeout_s"] == 7.0
    assert facts["/text"]["post"]["x-tiffin"]["max_batch_size"] is None
    assert facts["/v1/everything"]["post"]["x-tiffin"]["idempotent"] is False
    assert facts["/predict"]["post"]["summary"] == "Say which digit it is."


def test_schema_json_tells_everything_a_client_needs():
    shown = json.loads(json.dumps(schema(application(traffic={"queue_calls": 7}, depends={"other": "Other"}))))
    assert shown["service"] == "Digits"
    assert shown["depends"] == ["Other"]
    assert shown["defaults"]["queue_calls"] == 7
    methods = {method["name"]: method for method in shown["methods"]}
    assert list(methods) == [method.name for method in METHODS]
    predict = methods["predict"]
    assert predict["route"] == "/predict"
    assert predict["batchable"] is True
    assert predict["max_batch_size"] == 32
    assert predict["takes"] == ["application/json", "application/x-npy"]
    assert predict["params"][0]["name"] == "images"
    assert predict["params"][0]["batched"] is True
    assert methods["single"]["params"][2]["required"] is False
    assert methods["text"]["whole_body"] is True
    assert {line["code"] for line in shown["errors"]} == {code.value for code in Code} - {"CANCELLED"}
    user = methods["everything"]["params"][0]["schema"]
    jsonschema.Draft202012Validator({**user, "definitions": shown["definitions"]}).validate({"name": "Ada"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator({**user, "definitions": shown["definitions"]}).validate({"name": ""})


def test_two_types_of_one_name_stay_two_types():
    first = StructType(name="Item", fields=(Field(name="a", type=IntType()),))
    second = StructType(name="Item", fields=(Field(name="b", type=StrType()),))
    document = openapi(
        application(
            MethodSpec(name="one", route="/one", params=(Param(name="x", type=first),), returns=ANY),
            MethodSpec(name="two", route="/two", params=(Param(name="x", type=second),), returns=ANY),
        )
    )
    OpenAPIV31SpecValidator(document).validate()
    one = document["paths"]["/one"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    two = document["paths"]["/two"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    valid({"x": {"a": 1}}, one, document)
    valid({"x": {"b": "t"}}, two, document)
    with pytest.raises(jsonschema.ValidationError):
        valid({"x": {"a": 1}}, two, document)


def test_a_type_may_have_any_name_that_python_allows():
    named = StructType(name="Größe[int]", fields=(Field(name="größe", type=IntType()),))
    method = MethodSpec(name="m", route="/m", params=(Param(name="x", type=named),), returns=named)
    OpenAPIV31SpecValidator(openapi(application(method))).validate()
