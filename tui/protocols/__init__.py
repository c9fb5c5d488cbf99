"""Sans-IO adapters: calldata out, bytes in. One package a protocol, one interface for all."""
