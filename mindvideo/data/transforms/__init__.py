"""Changes of a clip and its targets, drawn first and applied afterwards."""
