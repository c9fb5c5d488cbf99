"""What the trader asks for: the rule schema, its TOML in and out, validation, evaluation and hysteresis."""
