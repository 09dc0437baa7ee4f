"""The commands. A file is named after the commands in it, joined by "_"; each is a function of that name."""
