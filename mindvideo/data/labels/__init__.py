"""Annotation files: reading, checking and splitting them, and the catalogue of data sets."""
