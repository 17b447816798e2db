"""The sections of a configuration, one module and one dataclass each; a section's name is its module's name."""
