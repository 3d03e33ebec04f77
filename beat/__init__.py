"""The scheduler's side: due rows become runs, runs become messages, and what went wrong is put right."""
