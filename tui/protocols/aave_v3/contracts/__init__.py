"""The lens: its Vyper source, and beside it the runtime code that is sent with a read."""
