"""Pure risk arithmetic: liquidation prices, distances, times and sizes, over any protocol's exact health function."""
