"""What the engine needs from the outside, as typing.Protocol classes."""
