"""Which rows are wanted: conditions read from text, and applied to batches and statistics."""
