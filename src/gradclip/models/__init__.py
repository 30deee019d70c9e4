"""Networks, and how one is built from its settings."""
