"""What the coder and the mathematician that ship learn from, and the judges of their replies; no model is asked."""

from random import Random

import pytest
from demo_model.domains import DOMAINS
from demo_model.judge import judge
from demo_model.programs import Request, held_out_requests
from demo_model.sums import Sum, held_out_sums

PYTHON = Request("", (), "Python", "def add(a, b):\n    return a + b")
C = Request("", (), "C", "int add(int a, int b) {\n    return a + b;\n}")
WORD_SUM = Sum("", "47 + 30 = 77. 77 + 5 = 82. That makes 82 in all.")


def test_the_answers_that_they_learn_pass_their_own_judge() -> None:
    requests, asked = held_out_requests(200), held_out_sums(200)
    assert judge(requests, [request.code for request in requests]).right == 200
    assert judge(asked, [one.reply for one in asked]).right == 200
    assert judge(requests, [request.code for request in requests]).well_formed == 200
    assert judge(asked, [one.reply for one in asked]).well_formed == 200


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_what_they_are_asked_is_not_in_their_training(name: str) -> None:
    chance = Random(1)
    learned = {turn.prompt for _ in range(2000) for turn in DOMAINS[name].compose(chance)}
    questions = DOMAINS[name].questions(100)
    assert len({question.text for question in questions}) == 100
    assert not learned & {question.text for question in questions}


@pytest.mark.parametrize(
    ("reply", "well_formed", "right"),
    [
        ("def add(a, b):\n    return a + b", True, True),
        ("def add(a,b):\n  return a+b", True, True),
        ("def add(a, b):\n    return a - b", True, False),
        ("def add(a, b):\n    return a +", False, False),
        ("def add(a, b:\n    return a + b", False, False),
        ("return a + b", False, False),
        ("Blue the of and.", False, False),
    ],
)
def test_python_must_compile_and_be_the_program(reply: str, well_formed: bool, right: bool) -> None:
    assert (PYTHON.is_well_formed(reply), PYTHON.is_right(reply)) == (well_formed, right)


@pytest.mark.parametrize(
    ("reply", "well_formed", "right"),
    [
        ("int add(int a, int b) {\n    return a + b;\n}", True, True),
        ("int add(int a, int b) {\n    return a * b;\n}", True, False),
        ("int add(int a, int b) {\n    return a + b;", False, False),
        ("int add(int a, int b) {\n    return a + b\n}", False, False),
        ("int add(int a, int b] {\n    return a + b;\n}", False, False),
        ('printf("{);', False, False),
        ('puts("({[");', True, False),
    ],
)
def test_c_must_close_its_brackets_and_end_its_lines(reply: str, well_formed: bool, right: bool) -> None:
    assert (C.is_well_formed(reply), C.is_right(reply)) == (well_formed, right)


@pytest.mark.parametrize(
    ("reply", "well_formed", "right"),
    [
        ("47 + 30 = 77. 77 + 5 = 82. That makes 82 in all.", True, True),
        ("47 + 35 = 82. That makes 82 in all.", True, True),
        ("47 + 35 = 82.", True, False),
        ("47 + 30 = 77. 77 + 5 = 83. That makes 83 in all.", True, False),
        ("47 + 30 = 78. 77 + 5 = 82. That makes 82 in all.", True, False),
        ("47 + 30 = 77. 77 + 5 = 82. That makes 28 in all.", True, False),
        ("40 + 40 = 80.", True, False),
        ("47 + 35 = 82. So 82 are left.", True, False),
        ("That makes 82 in all.", False, False),
        ("47 + 30 = . That makes 82 in all.", False, False),
        ("Blue the of and.", False, False),
    ],
)
def test_sums_must_be_true_and_end_in_the_result(reply: str, well_formed: bool, right: bool) -> None:
    assert (WORD_SUM.is_well_formed(reply), WORD_SUM.is_right(reply)) == (well_formed, right)
