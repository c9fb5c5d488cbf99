"""What a swap would cost: quotes from exchanges, sans-IO."""
