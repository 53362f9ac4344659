import jsonschema
import pytest

from tiffin.web.example import TooLargeError, example

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
    "required": ["name", "children"],
}
CHAIN = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Chain"}, {"type": "null"}]}},
    "required": ["next"],
}

SCHEMAS = [
    {},
    {"type": "null"},
    {"type": "boolean"},
    {"type": "integer"},
    {"type": "integer", "minimum": 10},
    {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 7},
    {"type": "integer", "maximum": -5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.25},
    {"type": "number", "minimum": -2, "maximum": -1},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "string"},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 2},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[a-z]+$"},
    {"type": "string", "pattern": "^[A-Z0-9]+$"},
    {"type": "string", "pattern": r"^\d{3}$"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "contentEncoding": "base64"},
    {"type": ["string", "null"]},
    {"type": ["null", "integer"]},
    {"enum": ["fast", "exact"]},
    {"const": 4},
    {"anyOf": [{"type": "null"}, {"type": "integer"}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"allOf": [{"type": "integer"}, {"minimum": 5}]},
    {"allOf": [{"$ref": "#/$defs/Tree"}]},
    {"type": "array"},
    {"type": "array", "items": {"type": "number"}, "minItems": 8, "maxItems": 8},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 3}, "minItems": 2},
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2},
    {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    },
    {"type": "array", "maxItems": 0},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"$ref": "#/$defs/Tree"},
    {"$ref": "#/$defs/Chain"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=repr)
def test_the_example_satisfies_its_schema(schema):
    definitions = {"Tree": TREE, "Chain": CHAIN}
    value = example(schema, definitions)
    jsonschema.validate(value, {**schema, "$defs": definitions}, format_checker=jsonschema.FormatChecker())


def test_fields_that_may_be_left_out_appear_only_with_a_default():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer", "default": 7}},
        "required": ["a"],
    }
    assert example(schema, {}) == {"a": 1, "c": 7}


def test_a_list_shows_an_item():
    assert example({"type": "array", "items": {"type": "string"}}, {}) == ["text"]


def test_the_schemas_own_example_is_taken():
    assert example({"type": "string", "examples": ["cat"]}, {}) == "cat"


def test_an_endless_type_ends():
    assert example({"$ref": "#/$defs/Loop"}, {"Loop": {"$ref": "#/$defs/Loop"}}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "object", "additionalProperties": {}, "minProperties": 10**9},
        {"type": "array", "minItems": 100, "items": {"type": "array", "minItems": 100, "items": {"type": "number"}}},
    ],
    ids=["list", "text", "object", "matrix"],
)
def test_nothing_huge_is_made(schema):
    with pytest.raises(TooLargeError):
        example(schema, {})
