"""Optimizers and schedules, with the semantics of torch."""
