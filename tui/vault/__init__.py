"""Keystore files and the signer child process. The only room that may import eth_account."""
