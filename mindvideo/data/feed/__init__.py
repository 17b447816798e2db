"""Batches, the processes that make them, and the data set that MindSpore reads."""
