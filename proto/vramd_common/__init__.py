"""What every package shares and no .proto can say."""
