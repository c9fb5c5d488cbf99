"""JSON-RPC: heads, reads, simulation, fees, broadcast. The only network room beside notifications and quotes."""
