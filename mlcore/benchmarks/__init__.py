"""Benchmarks of inference: the models that engines are compared with (`mlcore.benchmarks.zoo`)."""
