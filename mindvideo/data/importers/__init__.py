"""Label formats of other tools to YouTube-VIS JSON."""
