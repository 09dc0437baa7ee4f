"""What a load takes, and how it may be made to fit. Pure."""
