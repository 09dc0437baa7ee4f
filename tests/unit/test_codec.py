"""Events and actions as JSON, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Action, Grant, Refuse
from vramd_supervisor.core.events import CatalogueRead, Event, Requested
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, ModelFile, Simulation
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.simulation.codec import UnreadableValueError, decode, decode_event, encode, encode_event

PLAIN: Mapping[object, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False),
    str: st.text(),
    bool: st.booleans(),
    NoneType: st.none(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type; sequences as they come back, which is as tuples."""
    kind = getattr(kind, "__supertype__", kind)
    origin, parts = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin in (Union, UnionType):
        return st.one_of([values(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        return st.tuples(*map(values, parts))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=2)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return st.lists(values(parts[0]), max_size=2).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    assert isinstance(kind, type)
    hints = get_type_hints(kind)
    if issubclass(kind, tuple):  # with names
        return st.builds(kind, **{name: values(hint) for name, hint in hints.items()})
    assert is_dataclass(kind), f"no values of {kind}"
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


def there_and_back(value: object, kind: Any) -> object:
    return decode(json.loads(json.dumps(encode(value, kind))), kind)


@pytest.mark.parametrize(
    ("kind", "union"),
    [(kind, union) for union in (Event, Action) for kind in get_args(union)],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_every_event_and_action_comes_back_as_it_was(kind: Any, union: Any) -> None:
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values(kind))
    def comes_back(value: object) -> None:
        back = there_and_back(value, union)
        assert type(back) is kind
        assert back == value

    comes_back()


def test_what_is_as_usual_is_not_written() -> None:
    event = Requested(1.0, 2, "talker", RequestKind.RUN, 3.0)
    written = {"is": "Requested", "at_s": 1.0, "request": 2, "model": "talker", "kind": "RUN", "limit_s": 3.0}
    assert encode_event(event) == written
    asked = Requested(1.0, 2, "talker", RequestKind.RUN, 3.0, LoadOptions(keep_alive_s=0.0))
    assert encode_event(asked) == {**written, "options": {"keep_alive_s": 0.0}}


def test_what_is_equal_to_the_usual_is_not_written() -> None:
    assert encode(LoadOptions(keep_alive_s=0), LoadOptions) == {"keep_alive_s": 0}
    assert encode(Grant(1, 2, 3, {}), Grant) == {"request": 1, "incarnation": 2, "threads": 3}


def test_the_order_of_a_table_stays() -> None:
    models = {name: Model(name, Simulation({}, 1.0, 1.0, (), False)) for name in ("z", "a", "m")}
    back = there_and_back(CatalogueRead(0.0, models), Event)
    assert isinstance(back, CatalogueRead)
    assert list(back.models) == ["z", "a", "m"]


def test_one_of_several_keeps_its_kind() -> None:
    file = Model("talker", ModelFile("/talker.gguf", 1))
    assert there_and_back(file, Model) == file
    source = encode(file, Model)
    assert isinstance(source, dict)
    assert source["source"]["is"] == "ModelFile"


def test_a_reason_travels_by_its_name() -> None:
    written = encode(Refuse(1, Refusal(Reason.QUEUE_FULL, "full")), Refuse)
    assert written == {"request": 1, "refusal": {"reason": "QUEUE_FULL", "message": "full"}}


STARTED = {"is": "Started", "at_s": 1.0}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({**STARTED, "is": "Stopped"}, "'Stopped' is not one of"),
        ({"at_s": 1.0}, "None is not one of"),
        ({**STARTED, "colour": "red"}, r"extra fields found \(colour\) @ \$"),
        ({"is": "Started"}, r"required field missing @ \$\.at_s"),
        ({**STARTED, "at_s": "now"}, r"'now' is no float @ \$\.at_s"),
        ({**STARTED, "at_s": True}, "True is no float"),
        ([], "None is not one of"),
        ({"is": "Requested", "at_s": 1, "request": 1, "model": "m", "kind": "RUNS", "limit_s": 1}, "'RUNS' is no"),
        ({"is": "PlansFound", "at_s": 1, "model": "m", "turn": 1, "plans": 3}, r"expected Sequence @ \$\.plans"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(data: object, why: str) -> None:
    with pytest.raises(UnreadableValueError, match=why):
        decode_event(data)


def test_a_type_without_a_form_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(encode(b"", bytes))
