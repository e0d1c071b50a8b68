"""What a long run has found, kept so that a killed one goes on where it was."""
