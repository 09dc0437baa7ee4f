"""`vramd demo`: models that ship with vramd, loaded, swapped and killed for real, within a minute."""
