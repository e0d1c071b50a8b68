"""The tutorial's story, told by running it."""
