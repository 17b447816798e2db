"""Labels and results in the formats of other tools. Each module is a format; ``formats`` names them all."""
