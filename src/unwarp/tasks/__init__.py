"""What networks are trained for, each a Lightning module, and the folders their runs live in."""
