"""Values that are made quickly are what their dataclasses say."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from syncd.core.quick import changed, quick


@quick
@dataclass(frozen=True, slots=True)
class Person:
    name: str
    age: int = 0
    words: list[str] = field(default_factory=list)


def test_a_value_is_made_compared_and_copied_as_its_dataclass_has_it() -> None:
    ann = Person("ann", words=["hi"])
    assert (ann.name, ann.age, ann.words) == ("ann", 0, ["hi"])
    assert Person("bob").words == [] and Person("bob").words is not Person("bob").words
    assert repr(ann) == "Person(name='ann', age=0, words=['hi'])"
    assert pickle.loads(pickle.dumps(ann)) == copy.copy(ann) == Person(name="ann", words=["hi"])
    with pytest.raises(TypeError, match="name"):
        Person()  # type: ignore[call-arg]


def test_a_changed_value_is_another_one_and_neither_can_be_written_to() -> None:
    ann = Person("ann", 7)
    older = changed(ann, age=8)
    assert older == replace(ann, age=8) and ann.age == 7 and type(older) is Person
    for each in (ann, older):
        with pytest.raises(FrozenInstanceError):
            each.age = 9  # type: ignore[misc]
    with pytest.raises(AttributeError):
        changed(ann, height=2)
