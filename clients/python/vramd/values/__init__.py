"""What calls return: frozen values, no protobuf. Sizes are bytes, durations seconds; None is what is not known.

Field names are the keys of the command line's JSON, and those of the messages: `vramd.reading` goes by them.
"""
