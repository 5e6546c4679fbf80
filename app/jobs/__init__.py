"""Long work: one small queue of our own, with progress, lease, resume and cancel."""
