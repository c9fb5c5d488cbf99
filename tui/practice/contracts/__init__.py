"""The practice chain's own contract: its source, what it compiles to, and how."""
