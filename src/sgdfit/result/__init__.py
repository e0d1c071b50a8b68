"""What a fit found: declared facts, saved and read back exactly."""
