"""`vramd embed`: vectors of texts."""

import click
from typing_extensions import Unpack
from vramd import AskSettings, Client

from .. import output
from ..connection import with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import ask_flags, json_flag, load_flags, timeout_flag


@click.command("embed", cls=HeadedCommand, short_help="Print the embeddings of texts.")
@click.argument("model", type=ModelId())
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@ask_flags
@load_flags
@timeout_flag
@json_flag
@with_started_client
def embed(
    client: Client,
    model: str,
    texts: tuple[str, ...],
    timeout_s: float | None,
    as_json: bool,
    **settings: Unpack[AskSettings],
) -> None:
    """Prints one vector of length 1 per TEXT, in the order given; rounded, without --json."""
    embeddings = client.embed(model, texts, timeout_s=timeout_s, **settings)
    if not as_json:
        for vector in embeddings:
            output.say(" ".join(f"{number:.4f}" for number in vector))
        return
    listed = [{"index": index, "embedding": vector} for index, vector in enumerate(embeddings)]
    output.json({"model": embeddings.model, "dimensions": embeddings.dimensions, "embeddings": listed}, indent=None)
