"""The values that calls return: frozen, without protobuf. Sizes are bytes, durations seconds; None is unknown.

Field names are the keys of the command line's JSON, and those of the messages: `vramd.reading` goes by them.
"""
