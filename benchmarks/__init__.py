"""One file a measurement. Each compares side by side in one run and prints one JSON line last."""
