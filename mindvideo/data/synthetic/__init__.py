"""Made-up sets: shapes that move, with exact labels."""
