"""What a caller has had of an answer, kept for the case that its worker dies."""

import pytest
from vramd_proto.v1.inference_pb2 import ChatResponse, Finish, GenerateResponse
from vramd_supervisor.services import delivered
from vramd_supervisor.services.delivered import Delivered


@pytest.mark.parametrize("kind", [GenerateResponse, ChatResponse])
def test_it_knows_the_tokens_in_their_order_and_whether_the_end_was_there(
    kind: type[GenerateResponse | ChatResponse],
) -> None:
    had = Delivered()
    assert (had.token_ids(), had.tokens, had.last, had.is_finished) == ([], 0, b"", False)
    had.add(kind(text="a", token_ids=[3]).SerializeToString())
    had.add(kind(token_ids=[1, 3]).SerializeToString())
    assert (had.token_ids(), had.tokens, had.is_finished) == ([3, 1, 3], 3, False)
    had.add(kind(text="b", finish=Finish()).SerializeToString())
    assert (had.token_ids(), had.is_finished, had.is_whole) == ([3, 1, 3], True, True)


def test_what_is_too_much_to_be_kept_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    message = ChatResponse(text="a word", token_ids=[7]).SerializeToString()
    monkeypatch.setattr(delivered, "MOST_KEPT_BYTES", 10 * len(message))
    had = Delivered()
    for tokens in range(1, 26):
        had.add(message)
        assert had.tokens == tokens
        assert had.is_whole == (tokens <= 10)
    assert len(had.token_ids()) <= 10
