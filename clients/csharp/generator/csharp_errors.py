"""The reasons of errors as constants, and an exception for each class of `vramd.errors`. Pure."""

import inspect
import re
from collections.abc import Iterator, Mapping

import vramd.errors
from csharp_text import doc, file, pascal, prose, sentence
from vramd.failures import BY_CODE, BY_REASON
from vramd_common.reasons import Reason

WITHOUT_TWIN = (vramd.errors.WrongContext,)
"""Of Python's processes and event loops."""
KEYS = {
    "bytes": "Bytes that the request has.",
    "budgetBytes": "The most bytes that vramd may promise on the device.",
    "contextTokens": "Tokens of the model's context.",
    "device": "Id of the device.",
    "differences": "The settings that differ, in words.",
    "engine": "The engine that is missing.",
    "exit": "The way in which the process ended, in words.",
    "exitCode": "Exit code of the process; None while it runs.",
    "field": "The field of the request that is wrong.",
    "file": "The configuration file.",
    "freeBytes": "Bytes that are free, or could be made free.",
    "heldBy": "The holders of the memory, in words.",
    "incidentId": "Id of the incident in the supervisor's log.",
    "key": "The key of the configuration that is wrong, with its tables.",
    "limit": "Requests that may wait.",
    "limitBytes": "Bytes that a request may have.",
    "limitS": "The time that it may take.",
    "line": "The line of the file, from 1.",
    "log": "The end of what the process printed.",
    "model": "Id of the model.",
    "neededBytes": "Bytes that are needed.",
    "path": "The file or folder.",
    "promptTokens": "Tokens of the prompt.",
    "queued": "Requests that wait.",
    "scope": "The scope of the token.",
    "strikes": "Deaths of the model's processes within the last 10 minutes.",
    "tokensSent": "Tokens of the answer that came before its end.",
    "untilS": "The time for which it is refused; None: until it is reset.",
}
"""Documentation of the keys of metadata, which are properties of exceptions."""
COUNTS = {"exitCode", "limit", "line", "queued", "strikes", "tokensSent"}
"""Keys whose values are whole numbers, beside those that end in Tokens."""
HERE_ONLY: Mapping[type, tuple[str, ...]] = {vramd.errors.StartFailed: ("log", "exitCode")}
"""Keys of failures that no reason of the wire has."""
WORDS = {
    "`metadata` has `file`, `line` and `key`": "`file`, `line` and `key` say where",
    "`Client.reset`": "`VramdClient.ResetAsync`",
    "says for how many seconds it is refused": "says how long it is refused",
    "its `timeout_s`": "its timeout",
    "; `generate` works": "; `VramdClient.GenerateAsync` works",
}
"""Phrases of the docstrings in `vramd.errors` that name things of Python, and what C# says."""


_SEE = {f"{kind.__name__}Exception": f'<see cref="{kind.__name__}Exception"/>' for kind in BY_REASON.values()}


def reasons() -> str:
    """Returns Reasons.g.cs."""
    body = [*doc("The reasons of failures, as `reason` has them.", "", {"reason": _see("VramdException.Reason")})]
    body += ["public static class Reasons", "{"]
    for reason in Reason:
        body += [
            *doc(_meaning(reason), names=_SEE),
            f'    public const string {pascal(reason.name)} = "{reason.name}";',
            "",
        ]
    return file("proto/vramd_common/reasons.py", (), [*body[:-1], "}"])


def exceptions() -> str:
    """Returns Exceptions.g.cs: the classes, and the function that chooses one."""
    body = []
    for kind in classes():
        body += [*_class(kind), ""]
    return file(
        "clients/python/vramd/errors.py and failures.py", ("System", "System.Collections.Generic"), [*body, *_table()]
    )


def classes() -> list[type[vramd.errors.VramdError]]:
    """Returns the classes with a twin in C#, but the base, in the order of their module."""
    every = [one for one in vars(vramd.errors).values() if inspect.isclass(one)]
    return [one for one in every if issubclass(one, vramd.errors.VramdError) and one not in WITHOUT_TWIN][1:]


def name(kind: type) -> str:
    """Returns the name of a class in C#."""
    return "VramdException" if kind is vramd.errors.VramdError else f"{kind.__name__}Exception"


def keys(kind: type) -> tuple[str, ...]:
    """Returns the keys of metadata that the class's own reasons have, in their order."""
    ours = [reason.value for reason, one in BY_REASON.items() if one is kind]
    told = [key for meaning in ours for key in (*meaning.metadata, *meaning.told_if_known)]
    return tuple(dict.fromkeys((*told, *HERE_ONLY.get(kind, ()))))


def property_name(key: str) -> str:
    """Returns the property of a key: the unit of seconds is in its type."""
    return pascal(key.removesuffix("S"))


def in_csharp(docstring: str) -> str:
    """Converts a docstring, without its examples."""
    text = prose(docstring)
    for phrase, other in WORDS.items():
        text = text.replace(phrase, other)
    return re.sub(r'`metadata\["(\w+)"\]`', r"`\1`", text)


def _meaning(reason: Reason) -> str:
    meaning = reason.value
    parts = [f"Code {meaning.code}, `{name(BY_REASON[reason])}`."]
    if meaning.retry_after_s is not None:
        parts.append(f"The same call may succeed after {meaning.retry_after_s:g} s.")
    return f"{sentence(meaning.text)}\n\n{' '.join(parts)}"


def _see(target: str) -> str:
    return f'<see cref="{target}"/>'


def _class(kind: type) -> Iterator[str]:
    text = in_csharp(inspect.getdoc(kind) or "")
    base = kind.__mro__[1]
    inherited = {key for one in kind.__mro__[1:] for key in keys(one)}
    own = [key for key in keys(kind) if key not in inherited]
    yield from doc(text, "", {key: _see(property_name(key)) for key in (*inherited, *own)})
    sealed = "" if kind.__subclasses__() else "sealed "
    yield f"public {sealed}class {name(kind)} : {name(base)}"
    yield "{"
    yield "    /// <inheritdoc/>"
    yield f"    public {name(kind)}("
    yield "        string reason, string message, IReadOnlyDictionary<string, string>? metadata = null,"
    yield '        TimeSpan? retryAfter = null, string code = "")'
    yield "        : base(reason, message, metadata, retryAfter, code)"
    yield "    {"
    yield "    }"
    for key in own:
        yield ""
        yield from doc(KEYS[key])
        yield _property(key)
    yield "}"


def kind_of(key: str) -> str:
    """Returns the type of a key's property."""
    if key.lower().endswith("bytes"):
        return "long"
    if key.endswith("Tokens") or key in COUNTS:
        return "int"
    return "TimeSpan" if key.endswith("S") else "string"


def _property(key: str) -> str:
    kind = kind_of(key)
    read = {"long": "ReadLong", "int": "ReadInt", "TimeSpan": "ReadSeconds", "string": "ReadText"}[kind]
    return f'    public {kind}? {property_name(key)} => Metadata.{read}("{key}");'


def _table() -> Iterator[str]:
    yield from doc("Makes the exception of what came over the wire.", "")
    yield "internal static class ExceptionTable"
    yield "{"
    yield from doc("Chooses the class by the reason; by the status code's name where this client does not know it.")
    yield "    internal static VramdException Make("
    yield "        string reason, string message, IReadOnlyDictionary<string, string> metadata, TimeSpan? retryAfter,"
    yield "        string code) => reason switch"
    yield "        {"
    for kind in dict.fromkeys(BY_REASON.values()):
        ours = [f"Reasons.{pascal(reason.name)}" for reason, one in BY_REASON.items() if one is kind]
        yield from (f"            {one} or" for one in ours[:-1])
        yield f"            {ours[-1]} =>"
        yield f"                {_new(kind)},"
    yield "            _ => code switch"
    yield "            {"
    yield from (f'                "{code}" => {_new(kind)},' for code, kind in BY_CODE.items())
    yield f"                _ => {_new(vramd.errors.VramdError)},"
    yield "            },"
    yield "        };"
    yield "}"


def _new(kind: type) -> str:
    return f"new {name(kind)}(reason, message, metadata, retryAfter, code)"
