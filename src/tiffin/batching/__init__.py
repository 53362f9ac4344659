"""Batching: which call runs when, where and with whom. A pure state machine: the clock is passed in, never any I/O."""
