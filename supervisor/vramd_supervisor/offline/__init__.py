"""What is answered without a supervisor that runs."""
