"""Who computes how many tokens in a step: texts flow, short prompts are soon done, and each goes on."""

from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.llama.step_plan import Kind, Want, shares

TEXT = Want(Kind.TOKEN, 1)


def prompt(tokens: int) -> Want:
    return Want(Kind.PROMPT, tokens)


def again(tokens: int) -> Want:
    return Want(Kind.AGAIN, tokens)


def test_alone_a_prompt_has_the_whole_batch() -> None:
    assert shares([prompt(1500)], 512, 512) == [512]
    assert shares([prompt(100)], 512, 512) == [100]


def test_beside_a_text_prompts_have_their_budget_and_the_text_its_token() -> None:
    assert shares([prompt(1500), TEXT], 512, 64) == [64, 1]


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    assert shares([prompt(1500), TEXT, prompt(20)], 512, 64) == [44, 1, 20]


def test_a_long_prompt_goes_on_beside_any_number_of_short_ones() -> None:
    assert shares([prompt(1500), *[prompt(20)] * 5], 512, 64) == [32, 20, 12, 0, 0, 0]


def test_what_was_computed_before_is_computed_in_chunks_of_that_size() -> None:
    assert shares([again(100), prompt(50), TEXT], 512, 64) == [100, 0, 1]
    assert shares([again(24), prompt(50), TEXT], 512, 64) == [24, 40, 1]


def test_a_chunk_that_fits_beside_no_text_takes_turns_with_them() -> None:
    alone = shares([TEXT, again(512), TEXT], 512, 64)
    assert alone == [0, 512, 0]
    passed_over = TEXT._replace(passed_over=1)
    assert shares([passed_over, again(512), passed_over], 512, 64) == [1, 0, 1]


def test_texts_that_take_turns_have_them_in_order() -> None:
    wants, order = [TEXT] * 3, []
    for _ in range(6):
        given_ = shares(wants, 512, 512, 1)
        order.append(given_.index(1))
        assert sum(given_) == 1
        wants = [
            TEXT if one else TEXT._replace(passed_over=w.passed_over + 1) for one, w in zip(given_, wants, strict=True)
        ]
    assert order == [0, 1, 2, 0, 1, 2]
    assert shares([TEXT, prompt(30), TEXT], 512, 64, 1) == [1, 30, 1], "beside a prompt all of them compute"


wants = st.one_of(
    st.just(TEXT),
    st.integers(1, 9).map(lambda steps: TEXT._replace(passed_over=steps)),
    st.integers(1, 3000).map(prompt),
    st.integers(1, 512).map(again),
)


@given(st.lists(wants, max_size=16), st.integers(1, 512))
def test_a_step_never_exceeds_the_batch_and_is_never_empty(due: list[Want], budget: int) -> None:
    given_ = shares(due, 512, budget)
    assert sum(given_) <= 512
    assert all(0 <= tokens <= want.tokens for tokens, want in zip(given_, due, strict=True))
    assert any(given_) == bool(due)
    for tokens, want in zip(given_, due, strict=True):
        assert want.kind is not Kind.AGAIN or tokens in {0, want.tokens}
    texts = [tokens for tokens, want in zip(given_, due, strict=True) if want.kind is Kind.TOKEN]
    assert len(set(texts)) <= 1, "all of them, or none"
    assert sum(t for t, want in zip(given_, due, strict=True) if want.kind is Kind.PROMPT) <= budget


@given(st.lists(st.one_of(st.just(TEXT), st.integers(1, 300).map(prompt)), min_size=1, max_size=8))
def test_all_that_is_left_of_the_budget_is_given_away(due: list[Want]) -> None:
    given_ = shares(due, 512, 64)
    asked = sum(want.tokens for want in due if want.kind is Kind.PROMPT)
    assert sum(given_) == sum(want.kind is Kind.TOKEN for want in due) + min(64, asked)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 2000)), min_size=1, max_size=12))
def test_each_prompt_ends_in_the_time_that_those_before_it_need_with_half_of_the_budget(
    arrivals: list[tuple[int, int]],
) -> None:
    later = sorted(arrivals)
    running: list[list[int]] = []
    """Numbers in the order of arrival, and tokens that are left."""
    ended: dict[int, int] = {}
    step = came = 0
    while len(ended) < len(arrivals):
        while came < len(later) and later[came][0] <= step:
            running.append([came, later[came][1]])
            came += 1
        for one, tokens in zip(running, shares([prompt(left) for _, left in running], 512, 64), strict=True):
            one[1] -= tokens
        for number, _ in [one for one in running if not one[1]]:
            ended[number] = step
        running = [one for one in running if one[1]]
        step += 1
    for number, (came_at, _) in enumerate(later):
        before = sum(-(-tokens // 32) for _, tokens in later[: number + 1])
        assert ended[number] <= came_at + before
