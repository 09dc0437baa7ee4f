"""Models on the disk: found and read without loading them."""
