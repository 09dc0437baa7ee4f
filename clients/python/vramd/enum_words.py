"""Enums of the wire as words. Pure."""

from functools import cache

from google.protobuf.descriptor import EnumDescriptor


@cache
def words(enum: EnumDescriptor) -> dict[int, str]:
    """The name of each value without what all names of the enum begin with.

    >>> words(model_pb2.QuoteConfidence.DESCRIPTOR)
    {0: 'UNSPECIFIED', 1: 'EXACT', 2: 'CLOSE', 3: 'ROUGH'}
    """
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix) for value in enum.values}
