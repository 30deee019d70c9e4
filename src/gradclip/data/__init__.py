"""Tables to learn from, their scaling and their batches."""
