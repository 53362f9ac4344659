"""Gpu: what devices there are, and which worker gets which. Never imports torch and never creates a CUDA context."""
