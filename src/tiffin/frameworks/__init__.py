"""Frameworks: what PyTorch, TensorFlow and ONNX Runtime need on a worker's device; imported when they are asked for."""
