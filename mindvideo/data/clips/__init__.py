"""Chooses the frames that make a clip, and makes training samples of labelled sets."""
