"""The worker's side: a run from its message to its outcome."""
