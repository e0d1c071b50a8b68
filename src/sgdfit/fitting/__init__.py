"""The fit itself: from arguments to a task, down the descent, to a conclusion."""
